"""FLARE against the other methods by language, with confidence intervals: what the constructed world says.

    python -m flare_ray.sweep sweeps/claims.yaml && python benchmarks/claims.py sweeps/claims.yaml [--over flare]

A difference's 95% interval is a paired bootstrap: seeds are drawn with replacement, and for each draw the test
instances, the same ones for both methods (five paired seeds alone could not reach significance in a sign-flip test).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from flare_ray.plan.grid import Run
from flare_ray.sandbox import world
from flare_ray.study import Study

DRAWS = 2000


def confusion(gold: np.ndarray, guess: np.ndarray, labels: int) -> np.ndarray:
    """Counts [labels, labels], gold by guess; guesses below 0 count for no label."""
    counts = np.zeros((labels, labels + 1))
    np.add.at(counts, (gold, guess), 1)
    return counts


def macro_f1(gold: np.ndarray, guess: np.ndarray, labels: int) -> float:
    """In points; as scikit-learn's with zero_division=0."""
    counts = confusion(gold, guess, labels)
    right = np.diag(counts)
    total = counts.sum(1) + counts[:, :labels].sum(0)
    return 100 * float(np.mean(np.where(total > 0, 2 * right / np.maximum(total, 1), 0)))


def read(study: Study, run: Run) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Gold and predicted label numbers of a run's test instances."""
    file = study.store.folder("runs", run.fingerprint) / "predictions.parquet"
    table = pq.read_table(file).sort_by("id")
    gold = [answers[0] for answers in table["gold"].to_pylist()]
    names = sorted(set(gold))
    places = {name: place for place, name in enumerate(names)}
    guesses = [places.get(guess, len(names)) for guess in table["prediction"].to_pylist()]
    return np.array([places[name] for name in gold]), np.array(guesses), names


def interval(
    mine: list[np.ndarray], other: list[np.ndarray], gold: np.ndarray, labels: int
) -> tuple[float, float]:
    """95% bootstrap interval of the mean difference in macro F1. mine, other: guesses by seed."""
    draw = np.random.default_rng(0)
    found = []
    for _ in range(DRAWS):
        rows = draw.integers(len(gold), size=len(gold))
        seeds = draw.integers(len(mine), size=len(mine))
        found.append(
            np.mean(
                [
                    macro_f1(gold[rows], mine[seed][rows], labels)
                    - macro_f1(gold[rows], other[seed][rows], labels)
                    for seed in seeds
                ]
            )
        )
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    """Print a Markdown table: a row per method, a column per language, nearest to English first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--over", default="flare", help="the method whose lead over the others is shown")
    chosen = parser.parse_args()
    study = Study.open(chosen.sweep, to_execute=False)
    finished = study.store.finished("runs")
    guesses: dict[tuple[str, str], list[np.ndarray]] = defaultdict(list)
    golds: dict[str, tuple[np.ndarray, int]] = {}
    for run in study.grid.runs:
        if run.fingerprint in finished:
            gold, guess, names = read(study, run)
            golds[run.cell.language] = gold, len(names)
            guesses[run.cell.method, run.cell.language].append(guess)
    languages = sorted(
        golds, key=lambda code: world.LANGUAGES[code].distance if code in world.LANGUAGES else 0
    )
    methods = list(dict.fromkeys(method for method, _ in guesses))
    seeds = {len(found) for found in guesses.values()}
    print(f"macro F1, mean over n={sorted(seeds)} seeds; {chosen.over} − method with its 95% interval\n")
    print("| method | " + " | ".join(languages) + " |\n|---|" + "---:|" * len(languages))
    for method in methods:
        cells = []
        for code in languages:
            gold, labels = golds[code]
            mean = np.mean([macro_f1(gold, guess, labels) for guess in guesses[method, code]])
            text = f"{mean:.1f}"
            if method != chosen.over:
                lead = guesses[chosen.over, code]
                ours = np.mean([macro_f1(gold, guess, labels) for guess in lead])
                low, high = interval(lead, guesses[method, code], gold, labels)
                text += f" ({ours - mean:+.1f}, {low:+.1f} to {high:+.1f})"
            cells.append(text)
        print(f"| {method} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
