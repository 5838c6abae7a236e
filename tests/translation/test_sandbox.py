"""What the full sandbox's translator does: it translates, and hardly ever loses an answer, quotes in the text or not.

`python -m tests.translation.test_sandbox` prints chrF and retention of every language.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flare_ray.cache import cache_folder
from flare_ray.plan.corpora import corpus
from flare_ray.plan.schema import Translation
from flare_ray.sandbox import build as sandbox
from flare_ray.sandbox import world
from flare_ray.store import Store
from flare_ray.translation.corpus import ROWS
from flare_ray.translation.stage import Here, build

SIGNS = {"plain": "", "quotes": '""', "brackets": "[]"}
"""What stands around the first word of a context, so that a style of markers meets its own signs in the text."""


@pytest.fixture(scope="module")
def full() -> Path:
    """The full sandbox of the real cache: building it takes minutes."""
    return sandbox.ensure(cache_folder())


@pytest.fixture(autouse=True)
def own_cache() -> None:
    """Not this module's: its sandbox is the real cache's."""


def corpora(
    folder: Path, data: Path, task: str, language: str, splits: list[str], place: Path
) -> dict[str, Any]:
    """Records of splits translated into a new store, by split, with their rows."""
    store = Store(str(place))
    translation = Translation(model=str(folder / world.TRANSLATORS["sandbox-nllb"]["folder"]))
    wanted = [corpus(task, str(data), language, split, translation) for split in splits]
    build(store, wanted, Here(store))
    return {
        one.split: store.record("corpora", one.fingerprint)
        | {"table": pq.read_table(store.folder("corpora", one.fingerprint) / ROWS).to_pylist()}
        for one in wanted
    }


def with_signs(data: Path, signs: str, place: Path) -> Path:
    """The corpus with signs around the first word of each context, unless it is the answer."""
    place.mkdir()
    for file in data.glob("*.json"):
        content = json.loads(file.read_text(encoding="utf-8"))
        for article in content["data"] if signs else ():
            for paragraph in article["paragraphs"]:
                word, space, rest = paragraph["context"].partition(" ")
                answers = [answer for asked in paragraph["qas"] for answer in asked["answers"]]
                if all(answer["answer_start"] > len(word) for answer in answers):
                    paragraph["context"] = f"{signs[0]}{word}{signs[1]}{space}{rest}"
                    for answer in answers:
                        answer["answer_start"] += len(signs)
        (place / file.name).write_text(json.dumps(content), encoding="utf-8")
    return place


@pytest.mark.slow
@pytest.mark.parametrize("language", list(world.LANGUAGES))
def test_sentiment_is_translated_decently(full: Path, tmp_path: Path, language: str) -> None:
    made = corpora(full, full / "data" / "nusax", "nusax", language, ["validation", "test"], tmp_path)
    scores = [made[split]["against_gold"]["text"]["chrf"]["score"] for split in ("validation", "test")]
    assert scores[0] > 60, "into the target"
    assert scores[1] > 80, "into English"


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(SIGNS))
def test_answers_survive(full: Path, tmp_path: Path, kind: str) -> None:
    data = with_signs(full / "data" / "tydiqa", SIGNS[kind], tmp_path / "data")
    shares = []
    for language in world.LANGUAGES:
        place = tmp_path / language
        made = corpora(full, data, "tydiqa", language, ["validation"], place)["validation"]
        shares.append(made["retention"])
        answers = [(row["context"], answer) for row in made["table"] for answer in row["answers"] or []]
        assert len(answers) == made["usable"] > 100
        for context, answer in answers:
            start = answer["start"]
            assert context[start : start + len(answer["text"])] == answer["text"]
        kept = sum(SIGNS[kind][:1] in context for context, _ in answers)
        assert kept > 0.8 * len(answers), "the text's own signs stay"
    assert sum(shares) / len(shares) >= 0.95
    assert min(shares) >= 0.92


def main() -> None:
    folder = sandbox.ensure(cache_folder(), print)
    print("language  chrF into it, into English; answers kept plain, with quotes, with brackets in the text")
    for language in world.LANGUAGES:
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch)
            splits = ["validation", "test"]
            text = corpora(folder, folder / "data" / "nusax", "nusax", language, splits, place / "text")
            chrf = [text[split]["against_gold"]["text"]["chrf"]["score"] for split in splits]
            kept = []
            for name, signs in SIGNS.items():
                data = with_signs(folder / "data" / "tydiqa", signs, place / name)
                made = corpora(folder, data, "tydiqa", language, ["validation"], place / f"{name}-store")
                kept.append((made["validation"]["retention"], made["validation"]["markers"]))
        shares = "  ".join(f"{100 * share:5.1f}" for share, _ in kept)
        print(f"{language}  {chrf[0]:5.1f}  {chrf[1]:5.1f}   {shares}   {kept}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
