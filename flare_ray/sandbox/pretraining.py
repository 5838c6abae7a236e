"""The step of the build that needs torch, as a process of its own: text, tokenizer and weights of one model.

    sleep inf | python -m flare_ray.sandbox.pretraining FOLDER MODEL [--small]

A process of its own keeps the result independent of its caller (threads, default dtype, seeds, patches) and
of the other models, and the caller free of torch. It ends when its standard input closes, as it does when its
caller ends. Progress goes to standard output, the facts to ``FOLDER/models/MODEL.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flare_ray.sandbox import parallel, text, tokenizer, world
from flare_ray.sandbox.corpora import corpora, sentences

Report = Callable[[str], None]
Forbidden = dict[str, frozenset[str]]


def end_with_caller() -> None:
    """Ends this process when its standard input closes, which the caller's death does at once.

    Otherwise the child of a killed build would go on writing into a folder that the next build clears away.
    """

    def wait() -> None:
        os.read(0, 1)  # not sys.stdin, whose lock the interpreter wants at its end
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def xlm_roberta(folder: Path, small: bool, forbidden: Forbidden, report: Report) -> dict[str, Any]:
    """Builds `sandbox-xlm-r`."""
    from flare_ray.sandbox import masked_lm

    settings = masked_lm.SMALL if small else masked_lm.FULL
    lines = text.lines(settings.lines, forbidden)
    tokens = _tokenizer("xlm_roberta", _both(lines), settings, folder, report)
    return _finish(*masked_lm.pretrain(lines, tokens, settings, report), settings, folder)


def mt5(folder: Path, small: bool, forbidden: Forbidden, report: Report) -> dict[str, Any]:
    """Builds `sandbox-mt5`."""
    from flare_ray.sandbox import denoising

    settings = denoising.SMALL if small else denoising.FULL
    lines = text.lines(settings.lines, forbidden)
    tokens = _tokenizer("mt5", _both(lines), settings, folder, report)
    return _finish(*denoising.pretrain(lines, tokens, settings, report), settings, folder)


def _decoder(
    family: str, settings: Any, folder: Path, forbidden: Forbidden, report: Report
) -> dict[str, Any]:
    from flare_ray.sandbox import causal_lm

    rows = causal_lm.texts(text.lines(settings.lines, forbidden), settings.seed)
    tokens = _tokenizer(family, [f"{read}{answer}" for read, answer in rows], settings, folder, report)
    return _finish(*causal_lm.pretrain(family, rows, tokens, settings, report), settings, folder)


def llama(folder: Path, small: bool, forbidden: Forbidden, report: Report) -> dict[str, Any]:
    """Builds `sandbox-llama`."""
    from flare_ray.sandbox import causal_lm

    settings = causal_lm.LLAMA_SMALL if small else causal_lm.LLAMA
    return _decoder("llama", settings, folder, forbidden, report)


def gemma2(folder: Path, small: bool, forbidden: Forbidden, report: Report) -> dict[str, Any]:
    """Builds `sandbox-gemma2`."""
    from flare_ray.sandbox import causal_lm

    settings = causal_lm.GEMMA_SMALL if small else causal_lm.GEMMA
    return _decoder("gemma2", settings, folder, forbidden, report)


def nllb(folder: Path, small: bool, forbidden: Forbidden, report: Report) -> dict[str, Any]:
    """Builds `sandbox-nllb`."""
    from flare_ray.sandbox import translating

    settings = translating.SMALL if small else translating.FULL
    pairs = parallel.pairs(settings.lines, forbidden)
    texts = [side for pair in pairs for side in (pair.english, pair.target)]
    tokens = _tokenizer("nllb", texts, settings, folder, report)
    return _finish(*translating.pretrain(pairs, tokens, settings, report), settings, folder)


BUILDERS = {
    "sandbox-xlm-r": xlm_roberta,
    "sandbox-mt5": mt5,
    "sandbox-llama": llama,
    "sandbox-gemma2": gemma2,
    "sandbox-nllb": nllb,
}
"""Model name → what builds it into a folder and returns its facts."""


def _both(lines: list[text.Line]) -> list[str]:
    return [one.text for line in lines for one in (line, line.translation) if one]


def _tokenizer(family: str, texts: list[str], settings: Any, folder: Path, report: Report) -> Any:
    report("learning the tokenizer")
    return tokenizer.make(family, texts, settings.vocabulary, folder, settings.max_length)


def _finish(model: Any, training: dict[str, float], settings: Any, folder: Path) -> dict[str, Any]:
    """Saves the model; returns its facts."""
    from flare_ray.sandbox.training import save

    save(model, folder)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"settings": settings.facts(), "parameters": parameters, "training": training}


def main() -> None:
    """Builds into the folder named on the command line; progress lines go to standard output."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", choices=sorted(BUILDERS))
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    end_with_caller()

    def report(message: str) -> None:
        print(message, flush=True)

    report("writing the pretraining text")
    target = arguments.folder / {**world.MODELS, **world.TRANSLATORS}[arguments.model]["folder"]
    forbidden = text.taboo(sentences(corpora(arguments.small)))
    facts = BUILDERS[arguments.model](target, arguments.small, forbidden, report)
    file = arguments.folder / "models" / f"{arguments.model}.json"
    file.write_text(json.dumps(facts, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
