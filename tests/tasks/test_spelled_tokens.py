"""A text that spells a special token marks the runs that read it, and no other run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_study import write_csv, write_study

from flare_ray.plan.grid import expand
from flare_ray.plan.load import load_sweep
from flare_ray.tasks import _spelled_tokens
from flare_ray.tasks._spelled_tokens import SPELLED, _searched

SPELLINGS = [
    *("</s>", "<s>", "<pad>", "<mask>", "<unk>", "[SEP]", "[MASK]", "<|eot_id|>", "<bos>", "<end_of_turn>"),
    *("<extra_id_7>", "＜/s＞", "<|start_header_id|>", r"<\/s>", r"\u003c/s\u003e", r"\u003Cpad\u003E"),
]


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_are_noticed(spelling: str) -> None:
    assert SPELLED.search(f"text {spelling} text".encode())


@pytest.mark.parametrize(
    "text", ["<b>bold</b>", "a < s > b", "[sep]", "<span>", "<br/>", "</span>", "<padding>"]
)
def test_other_text_is_not(text: str) -> None:
    assert not SPELLED.search(text.encode())


def test_a_spelling_across_two_blocks_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_spelled_tokens, "_BLOCK", 70)
    for before in range(60, 80):
        file = tmp_path / f"{before}.csv"
        file.write_bytes(b"x" * before + b"</s>" + b"y" * 90)
        assert _searched(file), before


def test_a_parquet_files_values_are_read(tmp_path: Path) -> None:
    for text, spells in (("a </s> b" * 50, True), ("a b" * 50, False)):
        pq.write_table(pa.table({"text": [text]}), tmp_path / "rows.parquet", compression="zstd")
        assert _searched(tmp_path / "rows.parquet") is spells


def test_identity_changes_for_the_runs_that_read_such_a_text_alone(tmp_path: Path) -> None:
    fields = write_study(tmp_path) | {"methods": ["lora"], "rank": [4], "seeds": [1]}
    file = tmp_path / "sweep.json"
    file.write_text(json.dumps(fields), encoding="utf-8")

    def marked() -> dict[str, Any]:
        runs = expand(load_sweep(file)).runs
        return {
            run.cell.language: (run.identity.get("texts"), run.base.identity.get("texts")) for run in runs
        }

    assert marked() == {"ace": (None, None), "jav": (None, None)}
    rows = [(k, "a </s> b", ("negative", "neutral", "positive")[k % 3]) for k in range(9, 12)]
    write_csv(tmp_path / "data" / "acehnese" / "test.csv", rows)
    assert marked() == {"ace": (["special tokens"], None), "jav": (None, None)}
    rows = [(k, "a <pad> b", ("negative", "neutral", "positive")[k % 3]) for k in range(9, 12)]
    write_csv(tmp_path / "data" / "english" / "test.csv", rows)
    assert marked()["jav"] == (None, ["special tokens"])
