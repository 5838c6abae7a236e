"""Answers are greedy whatever a checkpoint's generation settings say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from flare_ray import registry
from flare_ray.plan.decoding import decoding_before, steering_settings
from flare_ray.training.engine import Group
from flare_ray.training.workbench import Subject, Workbench

QA = registry.load("tasks", "tydiqa")
FAMILIES = {"sandbox-llama": "llama", "sandbox-gemma2": "gemma2"}
STEERING: list[dict[str, Any]] = [
    {"no_repeat_ngram_size": 2, "min_new_tokens": 12},
    {"repetition_penalty": 5.0},
    {"forced_bos_token_id": 7, "suppress_tokens": list(range(10, 200))},
    {"stop_strings": ["a"]},
    {"return_dict_in_generate": True, "num_beams": 4, "num_return_sequences": 2, "do_sample": True},
    {"eos_token_id": list(range(5, 100)), "max_length": 3},
]


@pytest.fixture
def answers(small_sandbox: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """What a sandbox model generates, with settings in a file of its checkpoint."""

    def generate(
        name: str, settings: dict[str, Any] | None = None, file: str = "generation_config.json"
    ) -> list[str]:
        folder = tmp_path / "checkpoint"
        shutil.copytree(small_sandbox / "models" / name, folder)
        target = folder / file
        if file == "config.json":
            (folder / "generation_config.json").unlink(missing_ok=True)
        known = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {}
        target.write_text(json.dumps(known | (settings or {})), encoding="utf-8")
        subject = Subject(FAMILIES[name], str(folder), "tydiqa", "sandbox")
        bench = Workbench(subject, Group(device="cpu"))
        torch.manual_seed(0)
        model = bench.load_base().eval()
        answer = {"text": "na", "start": 2}
        rows = [
            {
                "id": str(k),
                "context": "w na w na be film",
                "question": f"what be {word}?",
                "answers": [answer],
            }
            for k, word in enumerate(("w", "na", "film"))
        ]
        form = bench.posed.form
        table = pa.Table.from_pylist(rows, QA.schema())
        features = form.encode(QA, table, bench.tokenizer, 96, False)
        inputs = form.inputs(features, [0, 1, 2], bench.tokenizer, False)
        found = form.predict(model, inputs, features, [0, 1, 2], QA, bench.tokenizer, {})
        shutil.rmtree(folder)
        return [one["generated"] for one in found]

    return generate


@pytest.mark.parametrize("name", FAMILIES)
def test_a_checkpoints_generation_settings_have_no_say(answers: Callable[..., list[str]], name: str) -> None:
    plain = answers(name)
    assert any(plain)
    for settings in STEERING:
        assert answers(name, settings) == plain, settings


def test_neither_have_those_that_older_versions_kept_in_the_configuration(
    answers: Callable[..., list[str]],
) -> None:
    settings = {"no_repeat_ngram_size": 2, "min_length": 90, "repetition_penalty": 5.0}
    assert answers("sandbox-llama", settings, "config.json") == answers("sandbox-llama")


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"no_repeat_ngram_size": 2, "min_new_tokens": 12}, ["min_new_tokens", "no_repeat_ngram_size"]),
        ({"do_sample": True, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [1, 2], "max_length": 20}, []),
        (
            {"no_repeat_ngram_size": 0, "repetition_penalty": 1.0, "suppress_tokens": None, "min_length": 0},
            [],
        ),
        ([], []),
    ],
)
def test_only_settings_that_change_greedy_answers_count(
    tmp_path: Path, values: Any, found: list[str]
) -> None:
    (tmp_path / "config.json").write_text('{"min_length": 3}', encoding="utf-8")
    assert steering_settings(tmp_path) == ["min_length"]
    (tmp_path / "generation_config.json").write_text(json.dumps(values), encoding="utf-8")
    assert steering_settings(tmp_path) == found
    marked = {"decoding": "greedy"} if found else {}
    assert decoding_before(str(tmp_path), ["generation"]) == marked
    assert decoding_before(str(tmp_path), ["classification", "span"]) == {}
    assert decoding_before("org/model", ["generation"]) == {}
