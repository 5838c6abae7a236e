"""Metrics in points (0 to 100). Predictions are what a head chose or what a generation was read as; None is wrong.

`exact_match` and `f1` are SQuAD v1.1's (https://rajpurkar.github.io/SQuAD-explorer, evaluate-v1.1.py), which is
how XTREME scores TyDiQA: lower case, ASCII punctuation and the articles a, an, the taken out, blanks joined.

    >>> squad([["The cat", "cats"]], ["cat!"])
    {'exact_match': 100.0, 'f1': 100.0, 'unparsed': 0.0}
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

Gold = Sequence[Sequence[str]]
Predictions = Sequence[str | None]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def classification(gold: Gold, predictions: Predictions, labels: Sequence[str]) -> dict[str, float]:
    """Macro F1 over all labels, those absent from both sides counting 0, and accuracy."""
    from sklearn.metrics import accuracy_score, f1_score

    _checked(gold, predictions)
    wanted = [accepted[0] for accepted in gold]
    given = [prediction if prediction is not None else "" for prediction in predictions]
    f1 = f1_score(wanted, given, labels=list(labels), average="macro", zero_division=0)
    return {
        "macro_f1": 100 * float(f1),
        "accuracy": 100 * float(accuracy_score(wanted, given)),
        "unparsed": unparsed(predictions),
    }


def squad(gold: Gold, predictions: Predictions) -> dict[str, float]:
    """Exact match and token F1, each row's best over its gold answers."""
    _checked(gold, predictions)
    return {
        "exact_match": _mean(gold, predictions, _exact_match),
        "f1": _mean(gold, predictions, _f1),
        "unparsed": unparsed(predictions),
    }


def unparsed(predictions: Predictions) -> float:
    """Share of the predictions that could not be read, in points."""
    return 100 * sum(prediction is None for prediction in predictions) / len(predictions)


def normalised(answer: str) -> str:
    """SQuAD v1.1's `normalize_answer`."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def _exact_match(answer: str, prediction: str) -> float:
    return float(normalised(answer) == normalised(prediction))


def _f1(answer: str, prediction: str) -> float:
    wanted, given = normalised(answer).split(), normalised(prediction).split()
    common = sum((Counter(wanted) & Counter(given)).values())
    return 2 * common / (len(wanted) + len(given)) if common else 0.0


def _mean(gold: Gold, predictions: Predictions, metric: Callable[[str, str], float]) -> float:
    best = [
        max(metric(answer, prediction) for answer in accepted) if prediction is not None else 0.0
        for accepted, prediction in zip(gold, predictions, strict=True)
    ]
    return 100 * sum(best) / len(best)


def _checked(gold: Gold, predictions: Predictions) -> None:
    if not gold or len(gold) != len(predictions):
        raise ValueError(
            f"{len(predictions)} predictions for {len(gold)} rows; wanted one for each, and rows"
        )
