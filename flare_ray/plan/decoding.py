"""Checkpoints whose own generation settings once had a say in generated answers, which are greedy now.

What was generated with such a checkpoint has another result now, so its identity says so; that of all other
checkpoints stays as it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from flare_ray.plan.checkpoints import CONFIG, is_local, local_path

_FILE = "generation_config.json"
_STEERING: dict[str, tuple[Any, ...]] = {
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "repetition_penalty": (1,),
    "guidance_scale": (1,),
    "bad_words_ids": ([],),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "sequence_bias": ({}, []),
    "stop_strings": ([], ""),
    "force_words_ids": ([],),
    "constraints": ([],),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "forced_decoder_ids": ([],),
    "exponential_decay_length_penalty": (),
    "max_time": (),
    "watermarking_config": ({},),
    "penalty_alpha": (0,),
    "dola_layers": (),
    "token_healing": (False,),
    "remove_invalid_values": (False,),
}
"""Generation settings that change greedy answers, with the values that change nothing; null is one of all."""


def decoding_before(checkpoint: str, forms: Iterable[str]) -> dict[str, Any]:
    """Return what an identity says of a local decoder whose settings steered its answers; mostly nothing.

    forms: in which the model's family is posed tasks.
    """
    if "generation" not in forms or not is_local(checkpoint):
        return {}
    return {"decoding": "greedy"} if steering_settings(local_path(checkpoint)) else {}


def steering_settings(folder: Path) -> list[str]:
    """Return the settings of a checkpoint folder that change greedy answers: its generation_config.json's, sorted.

    Of a folder without that file, those of its config.json, from where older versions took them.
    """
    file = folder / _FILE
    values: Any = {}
    with suppress(OSError, ValueError):  # of config.json, reported with the checkpoint
        values = json.loads((file if file.is_file() else folder / CONFIG).read_bytes())
    if not isinstance(values, dict):
        return []
    return sorted(
        name
        for name, neutral in _STEERING.items()
        if values.get(name) is not None and values[name] not in neutral
    )
