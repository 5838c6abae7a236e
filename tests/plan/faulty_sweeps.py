"""A generated corpus of faulty sweep files: each kind of fault at each place where it can stand.

A case is a name, the bytes of a file (or what else lies at its path) and `--set` overrides. Faults are written into
valid sweeps as raw YAML, so that a case is what a user could have typed. Every case is wrong by construction.
"""

from __future__ import annotations

import copy
import os
import random
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from faulty_values import (
    CHOICE,
    DOCUMENTS,
    FINE,
    FLAG,
    LIST,
    LONG,
    MAPPING,
    NEVER,
    NO_CHOICE,
    NO_FLAG,
    NO_LIST,
    NO_MAPPING,
    NO_NUMBER,
    NO_TEXT,
    NO_WHOLE,
    NUMBER,
    OVERRIDES,
    REFERENCE,
    RULES,
    SETS,
    SPACES,
    STORAGE,
    TEXT,
    WHOLE,
)
from small_study import write_checkpoint

SWEEPS = Path(__file__).parents[2] / "sweeps"
_MARK = "FAULTHERE"


@dataclass(frozen=True)
class Case:
    """A faulty sweep. prepare: makes what lies at a path, where that is no plain file of `content`."""

    name: str
    content: bytes = b""
    overrides: tuple[str, ...] = ()
    prepare: Callable[[Path], Any] | None = field(default=None, repr=False)

    def write(self, file: Path) -> Path:
        """Put the case's file into its place."""
        if self.prepare:
            self.prepare(file)
        else:
            file.write_bytes(self.content)
        return file


def rich_fields(study: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a valid sweep that has a value at each place where a fault is put."""
    sweep = copy.deepcopy(study) | {"precision": "fp32", "alpha": 8, "max_dropped": 0.02, "max_runs": 1000}
    sweep["models"][0] |= {"micro_batch": 2, "gradient_checkpointing": False, "precision": "fp32"}
    sweep["models"][0] |= {"quantization": "none"}
    sweep["methods"] = ["zero_shot", "lora", {"name": "flare", "source_offset": 1, "train_only": False}]
    sweep["training"] = {"epochs": 1, "batch_size": 2, "warmup": 0.1, "validate_every": 3}
    sweep["training"] |= {"weight_decay": 0.1, "max_grad_norm": 1.0}
    sweep["base"] = {"rank": 4, "alpha": 8, "epochs": 1}
    sweep["axes"] = {"learning_rate": [1e-4], "dropout": [0.1], "max_length": [16]}
    sweep["overrides"] = [{"task": "nusax", "training": {"epochs": 2}}]
    sweep["exclude"] = [{"rank": 8, "method": "lora"}]
    sweep["tracking"] = {"uri": "sqlite:///x.db"}
    sweep["resources"] = {
        "workers": 1, "pack_size": 2, "max_concurrent": 1, "zero_stage": 0, "translators": 1, "prefetch": False,
        "translation_tokens": 10, "max_attempts": 1, "cpus_per_worker": 1, "gpus_per_worker": 0,
        "price_per_hour": 1.0, "source_cache_mb": 10, "source_cache": "auto",
    }  # fmt: skip
    space = {"rank": [4, 8], "learning_rate": {"low": 1e-5, "high": 1e-3}}
    search = {"method": "lora", "space": space, "configurations": 3, "halving": 2, "parallel": 2, "seeds": 1}
    sweep["searches"] = [search | {"rungs": [0.5], "baseline": False, "sampler": "tpe", "over": "language"}]
    return sweep


def corpus(study: dict[str, Any], place: Path) -> list[Case]:
    """Return all cases over a study whose files are under `place`; the same ones each time."""
    fields = rich_fields(study)
    cases = [*_values(fields), *_structures(fields), *_documents(fields), *_shipped(), *_sets(fields)]
    cases += [*_kinds_of_file(fields, place), *_checkpoints(fields, place), *_extending(fields, place)]
    return cases


def faulty(fields: dict[str, Any], path: str, text: str) -> bytes:
    """Return a sweep's YAML with a raw text in the place of the value at a path."""
    sweep = copy.deepcopy(fields)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    target: Any = sweep
    for part in parents:
        target = target[part]
    target[last] = _MARK
    return (
        yaml.safe_dump(sweep, sort_keys=False, width=10_000)
        .replace(_MARK, text, 1)
        .encode("utf-8", "replace")
    )


def _values(fields: dict[str, Any]) -> Iterator[Case]:
    kinds = {
        "whole number": (WHOLE, NO_NUMBER + NO_WHOLE),
        "number": (NUMBER, NO_NUMBER),
        "flag": (FLAG, NO_FLAG),
        "text": (TEXT, NO_TEXT),
        "list": (LIST, NO_LIST),
        "mapping": (MAPPING, NO_MAPPING),
        "choice": (CHOICE, NO_CHOICE),
        "storage": (["storage"], STORAGE),
        "checkpoint": (["models.0.checkpoint"], REFERENCE),
        "data": (["data.nusax"], REFERENCE),
        "rule": (["exclude.0", "include"], RULES),
        "space": (["searches.0.space"], SPACES),
        "override": (["overrides.0"], OVERRIDES),
    }
    for kind, (places, texts) in kinds.items():
        for place in places:
            for text in texts:
                if (place, text) not in FINE and not (place == "include" and text == "[]"):
                    raw = f"[{text}]" if place == "include" else text
                    sweep = fields | {"include": []} if place == "include" else fields
                    yield Case(f"{kind}: {place} = {text[:40]}", faulty(sweep, place, raw))
    chance = random.Random(16)
    everywhere = sorted({*WHOLE, *NUMBER, *FLAG, *TEXT, *LIST, *MAPPING, *CHOICE})
    for text in NEVER:
        for place in chance.sample(everywhere, 6):
            yield Case(f"never: {place} = {text[:40]}", faulty(fields, place, text))


def _structures(fields: dict[str, Any]) -> Iterator[Case]:
    """Yield sweeps that lack a field, have one more, or have one at the wrong depth; grids that are none."""
    for key in ("name", "models", "tasks", "seeds"):
        yield _dumped(f"without {key}", {name: value for name, value in fields.items() if name != key})
    for key in fields:
        yield _dumped(
            f"{key} misspelt", {f"{name}x" if name == key else name: v for name, v in fields.items()}
        )
        yield _dumped(f"{key} in itself", fields | {key: {key: fields[key]}})
        yield _dumped(f"{key} in a list", fields | {key: [[fields[key]]]})
    numbers = list(range(1, 201))
    big = {
        axis: [n / 1e4 for n in numbers] for axis in ("learning_rate", "weight_decay", "dropout", "warmup")
    }
    yield _dumped("a grid of 10^9 cells", fields | {"training": {}, "axes": big})
    yield _dumped(
        "a grid of 10^7 runs", fields | {"seeds": list(range(5000)), "rank": numbers, "max_runs": 10_000}
    )
    x_mixup = dict.fromkeys(("block", "mse_weight", "kl_weight", "sampling_k"), numbers)
    yield _dumped(
        "a search over 200^4 points", fields | {"searches": [{"method": "x_mixup", "space": x_mixup}]}
    )
    out = {"searches": [], "methods": ["lora", "flare"]}
    yield _dumped("all cells excluded", fields | out | {"exclude": [{"task": "nusax"}]})
    yield _dumped("no cell included", fields | out | {"include": [{"method": "lora", "fusion": "mul"}]})
    yield _dumped("one search twice", fields | {"searches": fields["searches"] * 50})
    yield _dumped("5,000 unknown names", fields | {"languages": [f"lang{n}" for n in range(5000)]})
    yield _dumped(
        "long names", fields | {"tasks": [LONG], "methods": [LONG], "fusion": [LONG], "languages": [LONG]}
    )


def _documents(fields: dict[str, Any]) -> Iterator[Case]:
    for name, content in DOCUMENTS.items():
        yield Case(f"document: {name}", content)
    text = yaml.safe_dump(fields, sort_keys=False).encode()
    for name, content in DOCUMENTS.items():
        if len(content) < 1000 and name not in ("empty", "blank", "comment", "null"):
            yield Case(f"sweep before {name}", text + content)


def _shipped() -> Iterator[Case]:
    """Yield mutations of the sweeps that are shipped, in their own folder's place by absolute `extends`."""
    chance = random.Random(1616)
    for file in sorted(SWEEPS.glob("*.yaml")):
        text = file.read_text().replace("extends: common/", f"extends: {SWEEPS}/common/")
        lines = text.splitlines(keepends=True)
        first = next(line for line in lines if line.startswith("name:"))
        mutations = {
            "a key twice": text + first,
            "an unknown key": text + "modles: [x]\n",
            "a bracket more": text + "]\n",
            "an open bracket": text + "rank2: [1\n",
            "a tab": text.replace("name:", "\tname:", 1),
            "no colon": text.replace("name:", "name", 1),
            "a tag": text.replace("name: ", "name: !!binary ", 1),
            "an alias": text.replace("name: ", "name: *x ", 1),
            "a control character": text.replace("name: ", 'name: "\\0" #', 1),
            "text after a list": text + f"x{chance.randrange(100)}\n",
            "words for numbers": text.replace(
                "name:", "resources: {workers: yes, pack_size: off}\nmax_dropped: no\nname:"
            ),
            "octal": text.replace("name:", "max_runs: 0100\nname:", 1),
        }
        for name, mutated in mutations.items():
            yield Case(f"{file.name}: {name}", mutated.encode())
        yield Case(f"{file.name}: latin-1", text.encode() + "# caf\u00e9\n".encode("latin-1"))


def _sets(fields: dict[str, Any]) -> Iterator[Case]:
    sound = {**fields, "searches": []}
    text = yaml.safe_dump(sound, sort_keys=False).encode()
    for override in SETS:
        yield Case(f"--set {override[:40]}", text, (override,))
    for raw in NEVER:
        yield Case(f"--set training.epochs={raw[:40]}", text, (f"training.epochs={raw}",))
    yield Case("many --set", text, tuple(f"x{n}={n}" for n in range(500)))


def _kinds_of_file(fields: dict[str, Any], place: Path) -> Iterator[Case]:
    yield Case("no file", prepare=lambda file: None)
    for name, prepare in _not_files().items():
        yield Case(f"FILE is {name}", prepare=prepare)


def _not_files() -> dict[str, Callable[[Path], Any]]:
    def unreadable(file: Path) -> None:
        file.write_text("name: x")
        file.chmod(0)

    def listening(file: Path) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(file)) if len(str(file)) < 100 else os.mkfifo(file)
        server.close()

    def loop(file: Path) -> None:
        file.symlink_to(file.name)

    return {
        "a FIFO": os.mkfifo,
        "a folder": Path.mkdir,
        "/dev/zero": lambda file: file.symlink_to("/dev/zero"),
        "/dev/null": lambda file: file.symlink_to("/dev/null"),
        "/dev/random": lambda file: file.symlink_to("/dev/random"),
        "a link to nothing": lambda file: file.symlink_to("nowhere"),
        "a link to itself": loop,
        "a socket": listening,
        **({} if os.geteuid() == 0 else {"unreadable": unreadable}),
    }


def _checkpoints(fields: dict[str, Any], place: Path) -> Iterator[Case]:
    """Yield sweeps over local checkpoints whose config.json, or another file, is none."""
    contents = [
        b"[1]",
        b"null",
        b"",
        b"3",
        b'"text"',
        b"{",
        b"{'a': 1}",
        b"[" * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ]
    contents += [
        b"\xff\xfe",
        b"\x00" * 100,
        b'{"a": 1} {}',
        b"x" * 5_000_000,
        '{"a": "\u00e9"}'.encode("latin-1"),
    ]
    checkpoint = fields["models"][0]
    for number, content in enumerate(contents):
        folder = write_checkpoint(place / "checkpoints" / str(number))
        (folder / "config.json").write_bytes(content)
        sweep = fields | {"models": [checkpoint | {"checkpoint": str(folder)}]}
        yield _dumped(f"config.json: {content[:20]!r}", sweep)
    for name, prepare in _not_files().items():
        for file in ("config.json", "tokenizer.json"):
            folder = write_checkpoint(place / "checkpoints" / f"{name.replace('/', '_')} {file}")
            (folder / file).unlink(missing_ok=True)
            prepare(folder / file)
            if (file, name) != ("tokenizer.json", "a folder"):
                sweep = fields | {"models": [checkpoint | {"checkpoint": str(folder)}]}
                yield _dumped(f"{file} is {name}", sweep)


def _extending(fields: dict[str, Any], place: Path) -> Iterator[Case]:
    """Yield sweeps that extend what is none."""
    folder = place / "common"
    folder.mkdir()
    (folder / "sound.yaml").write_text(yaml.safe_dump(fields, sort_keys=False))
    for number in range(60):
        (folder / f"chain{number}.yaml").write_text(f"extends: chain{number + 1}.yaml\n")
        (folder / f"wide{number}.yaml").write_text(
            f"extends: [{', '.join([f'wide{number + 1}.yaml'] * 5)}]\n"
        )
    (folder / "chain60.yaml").write_text("alpha: 1\n")
    (folder / "wide60.yaml").write_text("alpha: 1\n")
    for number, (name, content) in enumerate(DOCUMENTS.items()):
        if name not in ("many models", "many rules", "emoji"):
            (folder / f"{number}.yaml").write_bytes(content)
            yield _dumped(f"extends a document: {name}", fields | {"extends": str(folder / f"{number}.yaml")})
    for name, prepare in _not_files().items():
        prepare(folder / (file := name.replace("/", "_")))
        yield _dumped(f"extends {name}", fields | {"extends": [str(folder / file)]})
    texts = [
        "3",
        "true",
        "''",
        "[[a]]",
        "{a: 1}",
        "[null]",
        "none.yaml",
        LONG,
        f"a/{LONG}",
        '"\\0"',
        "/dev/zero",
        "~nouser/x",
    ]
    for text in [
        *texts,
        str(folder / "chain0.yaml"),
        str(folder / "wide0.yaml"),
        f"[{', '.join(['sound.yaml'] * 99)}]",
    ]:
        yield Case(f"extends: {text[:40]}", faulty({"extends": "", **fields}, "extends", text))


def _dumped(name: str, fields: dict[str, Any]) -> Case:
    return Case(name, yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=10_000).encode())
