import random

import pytest

from flare_ray.tasks.nusax import TASK

LABELS = TASK.labels


def macro_f1(labels: list[int], predictions: list[int | None]) -> float:
    """By the definition: the mean over the three classes of 2tp / (2tp + fp + fn), 0 where that is 0/0."""
    scores = []
    for kind in range(3):
        pairs = [(label == kind, guess == kind) for label, guess in zip(labels, predictions, strict=True)]
        right, guessed, there = (
            pairs.count((True, True)),
            pairs.count((False, True)),
            pairs.count((True, False)),
        )
        whole = 2 * right + guessed + there
        scores.append(2 * right / whole if whole else 0.0)
    return 100 * sum(scores) / 3


def score(labels: list[int], predictions: list[int | None]) -> dict[str, float]:
    named = [LABELS[guess] if guess is not None else None for guess in predictions]
    return TASK.score([(LABELS[label],) for label in labels], named)


def test_scores_of_a_case_worked_by_hand() -> None:
    # class 0: tp 1, fp 1, fn 1 → 1/2; class 1: tp 1, fp 0, fn 1 → 2/3; class 2: tp 2, fp 1, fn 0 → 4/5
    found = score([0, 0, 1, 1, 2, 2], [0, 2, 1, 0, 2, 2])
    assert found["macro_f1"] == pytest.approx(100 * (1 / 2 + 2 / 3 + 4 / 5) / 3)
    assert found["accuracy"] == pytest.approx(100 * 4 / 6)
    assert found["unparsed"] == 0


def test_scores_follow_the_definition_also_when_a_class_is_absent_or_a_prediction_none() -> None:
    chance = random.Random(0)
    for classes in [(0, 1, 2), (0, 2), (1,)]:
        for _ in range(5):
            labels = [chance.choice(classes) for _ in range(30)]
            predictions = [chance.choice((0, 1, 2, None)) for _ in range(30)]
            assert score(labels, predictions)["macro_f1"] == pytest.approx(macro_f1(labels, predictions))
    assert score([1, 1], [1, 1]) == {"macro_f1": pytest.approx(100 / 3), "accuracy": 100, "unparsed": 0}


def test_what_could_not_be_read_is_wrong_and_counted() -> None:
    found = score([0, 1, 2, 2], [0, None, 2, None])
    assert found["accuracy"] == 50
    assert found["unparsed"] == 50


def test_labels_agree_with_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, f1_score

    chance = random.Random(1)
    labels, predictions = ([chance.choice(LABELS) for _ in range(200)] for _ in range(2))
    found = TASK.score([(label,) for label in labels], predictions)
    assert found["macro_f1"] == pytest.approx(100 * f1_score(labels, predictions, average="macro"))
    assert found["accuracy"] == pytest.approx(100 * accuracy_score(labels, predictions))


def test_predictions_must_be_as_many_as_rows() -> None:
    with pytest.raises(ValueError, match="1 predictions for 2 rows"):
        TASK.score([("neutral",), ("neutral",)], ["neutral"])
    with pytest.raises(ValueError, match="wanted"):
        TASK.score([], [])
