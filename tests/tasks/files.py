"""Small files in the corpora's formats, written by the tests of this folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def write_tsv(file: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    """Values between tabs, nothing quoted."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(map(str, row)) + "\n" for row in (header, *rows)]
    file.write_text("".join(lines), encoding="utf-8", newline="")
    return file


def write_jsonl(file: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


def question(row_id: str, context: str, *answers: tuple[str, int]) -> dict[str, Any]:
    """One question; answers are texts and starts."""
    return {"id": row_id, "context": context, "question": f"about {row_id}?", "answers": answers}


def write_squad(file: Path, questions: Iterable[Mapping[str, Any]], **document: Any) -> Path:
    """One article for each question."""
    data = []
    for one in questions:
        answers = [{"text": text, "answer_start": start} for text, start in one["answers"]]
        qas = [{"id": one["id"], "question": one["question"], "answers": answers}]
        data.append({"title": "t", "paragraphs": [{"context": one["context"], "qas": qas}]})
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"data": data, **document}, ensure_ascii=False), encoding="utf-8")
    return file


def write_repository(folder: Path, tables: Mapping[str, Mapping[str, pa.Table]], features: str) -> Path:
    """A hub repository as a local folder: config -> split -> table, as parquet; features as its card has them."""
    lines = ["configs:"]
    for config, splits in tables.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, table in splits.items():
            (folder / config).mkdir(parents=True, exist_ok=True)
            pq.write_table(table, folder / config / f"{split}.parquet")
            lines.append(f"  - {{split: {split}, path: {config}/{split}.parquet}}")
    lines.append("dataset_info:")
    for config in tables:
        lines += [f"- config_name: {config}", "  features:", features]
    (folder / "README.md").write_text("\n".join(["---", *lines, "---", "A corpus.\n"]))
    return folder
