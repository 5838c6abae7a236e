"""The three corpora in every language, in the file formats of the originals.

========  ==============================================  =================================================
task      files (one set per language folder name)        rows
========  ==============================================  =================================================
nusax     ``nusax/<language>/{train,valid,test}.csv``     ``id,text,label`` as NusaX-senti
xnli      ``xnli/<language>.{train,dev,test}.tsv``        ``premise hypothesis label`` by tabs, no quoting,
                                                          label 0 entailment, 1 neutral, 2 contradiction;
                                                          row k is the same item in every language
tydiqa    ``tydiqa/<language>.{train,dev,test}.json``     SQuAD JSON as TyDiQA-GoldP; the same question ids
                                                          in every language
========  ==============================================  =================================================

Ids and labels are the same in every language. Texts are unique over all splits of a task, in every language.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from flare_ray.sandbox import concepts, world
from flare_ray.sandbox.answering import ROLES, Item, item
from flare_ray.sandbox.grammar import Sentence, find, write
from flare_ray.sandbox.inference import RELATIONS, pair
from flare_ray.sandbox.sentiment import LABELS, Label, judging_words, statement

SIZES: dict[str, dict[str, int]] = {
    "nusax": {"train": 500, "valid": 100, "test": 400},
    "xnli": {"train": 2100, "dev": 150, "test": 450},
    "tydiqa": {"train": 1200, "dev": 120, "test": 300},
}
SMALL_SIZES: dict[str, dict[str, int]] = {
    "nusax": {"train": 64, "valid": 32, "test": 48},
    "xnli": {"train": 64, "dev": 32, "test": 48},
    "tydiqa": {"train": 64, "dev": 32, "test": 48},
}
UNSEEN_SHARE = 0.25
"""Share of the opinions in sentiment validation and test that use a judging word held out of training."""


@dataclass(frozen=True)
class Row:
    """One instance of any task, still without a language: its sentences per text field, and its label."""

    fields: tuple[tuple[Sentence, ...], ...]
    label: str
    item: Item | None = None


Corpus = dict[str, list[Row]]
"""Split name → rows."""


def _unique(make: Callable[[Random, int, str], Row], draw: Random, sizes: dict[str, int]) -> Corpus:
    """Rows from `make`, no text of which is repeated in any language, over all splits."""
    languages = [world.language(folder) for folder in world.folders()]
    seen: set[tuple[str, str]] = set()
    corpus: Corpus = {}
    for split, size in sizes.items():
        rows: list[Row] = []
        while len(rows) < size:
            row = make(draw, len(rows), split)
            keys = {(language.code, write(row.fields[0], language)) for language in languages}
            if not keys & seen:
                seen |= keys
                rows.append(row)
        draw.shuffle(rows)
        corpus[split] = rows
    return corpus


def _sentiment_row(draw: Random, index: int, split: str) -> Row:
    label: Label = LABELS[index % len(LABELS)]
    if split == "train":
        return Row(((statement(draw, label, avoid=concepts.HELD_OUT),),), label)
    unseen = label != "neutral" and draw.random() < UNSEEN_SHARE
    while True:
        sentence = statement(draw, label)
        if not unseen or judging_words(sentence) & concepts.HELD_OUT:
            return Row(((sentence,),), label)


def _inference_row(draw: Random, index: int, split: str) -> Row:
    del split
    relation = RELATIONS[index % len(RELATIONS)]
    first, second = pair(draw, relation)
    return Row(((Sentence((first,)),), (Sentence((second,)),)), str(RELATIONS.index(relation)))


def _answering_row(draw: Random, index: int, split: str) -> Row:
    del split
    made = item(draw, ROLES[index % len(ROLES)])
    return Row((made.context, (made.question,)), made.role, made)


_MAKERS = {"nusax": _sentiment_row, "xnli": _inference_row, "tydiqa": _answering_row}


def corpora(small: bool = False) -> dict[str, Corpus]:
    """All rows of all tasks: task → split → rows, in file order."""
    sizes = SMALL_SIZES if small else SIZES
    return {
        task: _unique(_MAKERS[task], Random(f"{task} of the sandbox"), sizes[task]) for task in world.TASKS
    }


def sentences(tasks: dict[str, Corpus]) -> Iterator[Sentence]:
    """Every sentence of every task and split."""
    for corpus in tasks.values():
        for rows in corpus.values():
            for row in rows:
                for field in row.fields:
                    yield from field


def _numbered(task: str, corpus: Corpus) -> Iterator[tuple[str, list[tuple[int, Row]]]]:
    """Splits with their rows and ids; ids are shuffled over the splits, so that they tell nothing."""
    total = sum(len(rows) for rows in corpus.values())
    ids = list(range(1, total + 1))
    Random(f"ids of {task}").shuffle(ids)
    for split, rows in corpus.items():
        yield split, [(ids.pop(), row) for row in rows]


def _squad(rows: list[tuple[int, Row]], language: world.Language) -> dict[str, object]:
    """Rows of the question answering corpus as a SQuAD document, one paragraph per question."""
    data = []
    for number, row in rows:
        assert row.item is not None
        text, start = find(row.item.context, language, row.item.fact, row.item.role)
        question = {
            "id": f"sandbox-{number}",
            "question": write((row.item.question,), language),
            "answers": [{"text": text, "answer_start": start}],
        }
        paragraph = {"context": write(row.item.context, language), "qas": [question]}
        data.append({"title": f"sandbox {number}", "paragraphs": [paragraph]})
    return {"version": f"sandbox-{world.VERSION}", "data": data}


def _csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _tsv(path: Path, header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    path.write_text("".join("\t".join(row) + "\n" for row in (header, *rows)), encoding="utf-8")


def save(tasks: dict[str, Corpus], folder: Path) -> None:
    """Writes all corpora in all languages under `folder` (the sandbox's ``data``)."""
    for name in world.folders():
        language = world.language(name)
        for task in world.TASKS:
            (folder / task).mkdir(parents=True, exist_ok=True)
        (folder / "nusax" / name).mkdir(exist_ok=True)
        for split, rows in _numbered("nusax", tasks["nusax"]):
            lines = [(number, write(row.fields[0], language), row.label) for number, row in rows]
            _csv(folder / "nusax" / name / f"{split}.csv", ("id", "text", "label"), lines)
        for split, rows in _numbered("xnli", tasks["xnli"]):
            texts = [(*(write(field, language) for field in row.fields), row.label) for _, row in rows]
            _tsv(folder / "xnli" / f"{name}.{split}.tsv", ("premise", "hypothesis", "label"), texts)
        for split, rows in _numbered("tydiqa", tasks["tydiqa"]):
            document = json.dumps(_squad(rows, language), ensure_ascii=False)
            (folder / "tydiqa" / f"{name}.{split}.json").write_text(document, encoding="utf-8")
