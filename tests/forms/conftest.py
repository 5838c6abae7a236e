"""Tokenizers of every template, and rows in scripts that are hard to cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flare_ray import registry

REAL = Path.home() / ".cache" / "real-models"


@pytest.fixture(scope="session")
def tokenizer_of(small_sandbox: Path) -> Callable[[str], Any]:
    """A tokenizer by the sandbox model's name, or that of a real model in the cache; skips without it."""
    opened: dict[str, Any] = {}

    def find(name: str) -> Any:
        if name not in opened:
            own = name.startswith("sandbox-")
            folder = (small_sandbox / "models" if own else REAL) / name
            if not (folder / "tokenizer.json").exists():
                pytest.skip(f"no {folder}")
            opened[name] = registry.load("models", "llama").tokenizer(str(folder))
        return opened[name]

    return find


@pytest.fixture(scope="session")
def questions() -> Callable[..., pa.Table]:
    """A TyDiQA table of (context, question, answer text, which of its places)."""
    schema = registry.load("tasks", "tydiqa").schema()

    def table(*rows: tuple[str, str, str, int]) -> pa.Table:
        made = []
        for number, (context, question, answer, which) in enumerate(rows):
            start = -1
            for _ in range(which + 1):
                start = context.index(answer, start + 1)
            answers = [{"text": answer, "start": start}]
            made.append({"id": str(number), "context": context, "question": question, "answers": answers})
        return pa.Table.from_pylist(made, schema)

    return table
