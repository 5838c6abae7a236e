"""How long `flare-ray plan` takes with all checks of the data, on files of XNLI's size.

    python benchmarks/data_checks.py [--rows 392702] [--languages 14]

The sweep is sweeps/table1.yaml with `translation: gold`, so that every row of every language is read and paired with
its English row. XNLI is a local folder of generated text in XNLI's format: made-up words, lengths about those of the
corpus, one label for the rows that are translations of one another. The first plan starts with an empty cache, the
second one uses what the first one has kept. Each is a process of its own, timed from its start to its end.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from pathlib import Path

import yaml
from plan import measured

from flare_ray.tasks.xnli import XNLI

TABLE1 = Path(__file__).parents[1] / "sweeps" / "table1.yaml"
SIZES = {"dev": 2_490, "test": 5_010}
WORDS = {"premise": 20, "hypothesis": 10}


def write_language(folder: Path, language: str, sizes: dict[str, int]) -> int:
    """Write the splits of a language; return their bytes. Labels depend on split and row alone."""
    words = random.Random(language)
    vocabulary = [
        "".join(words.choices("abcdefghijklmnopqrstuvwxyz", k=words.randint(2, 9))) for _ in range(5000)
    ]
    size = 0
    for split, rows in sizes.items():
        labels = random.Random(split)
        file = folder / f"{language}.{split}.tsv"
        with file.open("w", encoding="utf-8") as stream:
            stream.write("premise\thypothesis\tlabel\n")
            for _ in range(rows):
                texts = [
                    " ".join(words.choices(vocabulary, k=words.randint(1, 2 * n))) for n in WORDS.values()
                ]
                stream.write("\t".join(texts) + f"\t{labels.randrange(3)}\n")
        size += file.stat().st_size
    return size


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=392_702, help="rows of each training split")
    parser.add_argument("--languages", type=int, default=14)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="flare-ray-") as name:
        folder = Path(name)
        data = folder / "xnli"
        data.mkdir()
        languages = list(XNLI.languages)[: options.languages]
        sizes = {"train": options.rows, **SIZES}
        size = sum(write_language(data, language, sizes) for language in ["en", *languages])
        fields = {
            "extends": str(TABLE1),
            "name": "data_checks",
            "data": {"xnli": str(data)},
            "translation": "gold",
            "tasks": ["xnli"],
            "storage": str(folder / "store"),
        }
        file = folder / "sweep.yaml"
        file.write_text(yaml.safe_dump(fields), encoding="utf-8")
        os.environ["FLARE_RAY_CACHE"] = str(folder / "cache")
        rows = sum(sizes.values()) * (1 + len(languages))
        print(f"{rows:,} rows in {3 * (1 + len(languages))} files, {size / 1e9:.2f} GB\n")
        print("| `plan` | seconds | CPU seconds | peak MB |\n|---|---:|---:|---:|")
        for what in ("empty cache", "second time"):
            wall, cpu, peak = measured(["plan", str(file)])
            print(f"| {what} | {wall:.1f} | {cpu:.1f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
