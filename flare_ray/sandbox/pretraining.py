"""The step of the build that needs torch, as a process of its own: text, tokenizer and model of the sandbox.

    sleep inf | python -m flare_ray.sandbox.pretraining FOLDER [--small]

A process of its own keeps the result independent of its caller (threads, default dtype, seeds, patches) and
the caller free of torch. It ends when its standard input closes, as it
does when its caller ends.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

from flare_ray.sandbox import masked_lm, text, tokenizer, world
from flare_ray.sandbox.corpora import corpora, sentences


def end_with_caller() -> None:
    """Ends this process when its standard input closes, which the caller's death does at once.

    Otherwise the child of a killed build would go on writing into a folder that the next build clears away.
    """

    def wait() -> None:
        os.read(0, 1)  # not sys.stdin, whose lock the interpreter wants at its end
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def xlm_roberta(folder: Path, small: bool, report: Callable[[str], None]) -> dict[str, object]:
    """Builds `sandbox-xlm-r` under `folder` and returns its facts."""
    settings = masked_lm.SMALL if small else masked_lm.FULL
    report("writing the pretraining text")
    lines = text.lines(settings.lines, text.taboo(sentences(corpora(small))))
    texts = [part for line in lines for part in (line.text, line.translation) if part]
    target = folder / world.MODELS["sandbox-xlm-r"]["folder"]
    report("learning the tokenizer")
    tokenizer.save(texts, settings.vocabulary, target, settings.max_length)
    report("loading transformers")
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(target)
    rows = masked_lm.encode(lines, loaded, settings.max_length)
    model, training = masked_lm.pretrain(rows, loaded, settings, report)
    masked_lm.save(model, target)
    shares = {
        name: round(sum(line.folder == name for line in lines) / len(lines), 4) for name in world.folders()
    }
    return {
        "settings": {name: getattr(settings, name) for name in settings.__dataclass_fields__},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "vocabulary": len(loaded),
        "lines": len(lines),
        "share_of_lines": shares,
        "training": training,
    }


def main() -> None:
    """Builds into the folder named on the command line; progress lines go to standard output."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    end_with_caller()
    facts = {
        "sandbox-xlm-r": xlm_roberta(
            arguments.folder, arguments.small, lambda message: print(message, flush=True)
        )
    }
    (arguments.folder / "models" / "facts.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
