"""Lays out real corpora, cut to a CPU's size, in the formats that the tasks read: input of `sweeps/real_*.yaml`.

    python benchmarks/real_data.py SHARED OUT

SHARED holds XNLI, XQuAD and TyDiQA-GoldP files of their public repositories (docs/real-data.md names them). OUT gets

    xnli/    English, Swahili (human translation) and Spanish (machine translation) of XNLI's dev set as train and
             dev, the test sets, and machine translations of the test sets into English (`*.test.english.tsv`)
    xquad/   Arabic and English of XQuAD, parallel, split by passage; English train has TyDiQA-GoldP's too
    tydiqa/  Swahili and English of TyDiQA-GoldP, which are not parallel
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

XNLI = {"train": (0, 2001), "dev": (2100, 2301)}  # rows of XNLI's dev set; premises come in threes
XNLI_TEST = 600
TYDIQA = {"train": 400, "dev": 100, "test": 300}


def lines(file: Path) -> list[dict[str, str]]:
    """Rows of a TSV without quoting."""
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))


def write_tsv(file: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """premise, hypothesis, label."""
    text = "".join("\t".join(row) + "\n" for row in [("premise", "hypothesis", "label"), *rows])
    file.write_text(text, encoding="utf-8")


def texts(rows: list[dict[str, str]], language: str) -> list[tuple[str, str, str]]:
    """Premise, hypothesis and label of a file that may hold two languages."""
    names = (f"sentence1_{language}", f"sentence2_{language}")
    if names[0] not in rows[0]:
        names = ("premise", "hypothesis")
    return [(row[names[0]], row[names[1]], row["label"]) for row in rows]


def xnli(shared: Path, out: Path) -> None:
    """Row k is the same item in every language."""
    out.mkdir(parents=True)
    devs = {"english": ("en_my.dev", "en"), "sw": ("sw.dev", "sw"), "es": ("es.dev.mt_from_en", "es")}
    tests = {
        "english.test": ("en_my.test", "en"),
        "sw.test": ("sw.test", "sw"),
        "sw.test.english": ("sw.translate_test", "en"),
        "es.test": ("es.test", "es"),
        "es.test.english": ("es.test.translate_test", "en"),
    }
    for name, (file, language) in devs.items():
        rows = texts(lines(shared / f"{file}.tsv"), language)
        for split, (first, last) in XNLI.items():
            write_tsv(out / f"{name}.{split}.tsv", rows[first:last])
    for name, (file, language) in tests.items():
        write_tsv(out / f"{name}.tsv", texts(lines(shared / f"{file}.tsv"), language)[:XNLI_TEST])


def paragraphs(file: Path) -> list[Any]:
    """Paragraphs of a SQuAD file in order."""
    articles = json.loads(file.read_text(encoding="utf-8"))["data"]
    return [paragraph for article in articles for paragraph in article["paragraphs"]]


def write_squad(file: Path, chosen: list[Any]) -> None:
    """Paragraphs as one SQuAD document."""
    document = {"version": "1.1", "data": [{"title": file.stem, "paragraphs": chosen}]}
    file.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def xquad(shared: Path, tydiqa: Path, out: Path) -> None:
    """Every tenth passage is validation, two of ten are test."""
    out.mkdir(parents=True)
    splits = {"train": range(7), "dev": (7,), "test": (8, 9)}
    for name, language in (("english", "en"), ("arabic", "ar")):
        every = paragraphs(shared / f"xquad.{language}.json")
        for split, places in splits.items():
            chosen = [one for place, one in enumerate(every) if place % 10 in places]
            if name == "english" and split == "train":
                chosen = chosen + paragraphs(tydiqa / "english.train.json")[: TYDIQA["train"]]
            write_squad(out / f"{name}.{split}.json", chosen)


def goldp(shared: Path, out: Path) -> None:
    """The first rows of each split; the release's dev is the test, validation comes off the end of train."""
    out.mkdir(parents=True)
    for name in ("english", "swahili"):
        train, dev = (paragraphs(shared / f"{name}.{split}.json") for split in ("train", "dev"))
        write_squad(out / f"{name}.train.json", train[: TYDIQA["train"]])
        write_squad(out / f"{name}.dev.json", train[-TYDIQA["dev"] :])
        write_squad(out / f"{name}.test.json", dev[: TYDIQA["test"]])


def main() -> None:
    """Writes all three."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    shared, out = Path(sys.argv[1]), Path(sys.argv[2])
    xnli(shared / "xnli", out / "xnli")
    xquad(shared / "xquad", shared / "tydiqa_goldp", out / "xquad")
    goldp(shared / "tydiqa_goldp", out / "tydiqa")


if __name__ == "__main__":
    main()
