"""Every term of the loss, recomputed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from .conftest import FAMILIES, GENERATIVE, batch, mixup, text
from .oracle import number, softmax


def cross_entropy(logits: Any, label: int) -> float:
    return float(-np.log(softmax(number(logits)))[label])


def head_states(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Final states and outputs of the source's and the target's run, in this order."""
    runs: list[Any] = []
    run = type(model)._run

    def spy(self: Any, *args: Any) -> Any:
        reading = run(self, *args)
        runs.append(reading)
        return reading

    monkeypatch.setattr(type(model), "_run", spy)
    return runs


def task_by_hand(family: str, output: Any, side: dict[str, Any]) -> float:
    losses = []
    for row in range(3):
        real = np.flatnonzero(side["attention_mask"][row])
        if family in GENERATIVE:
            labels = side["labels"][row]
            losses += [
                cross_entropy(output.logits[row, at - 1], int(labels[at])) for at in real if labels[at] >= 0
            ]
        elif family.endswith("_qa"):
            ends = ((output.start_logits, "start_positions"), (output.end_logits, "end_positions"))
            losses += [
                cross_entropy(logits[row, : len(real)], int(side[name][row]) - real[0])
                for logits, name in ends
            ]
        else:
            losses.append(cross_entropy(output.logits[row], int(side["labels"][row])))
    return float(np.mean(losses))


def representation_by_hand(family: str, task: str, reading: Any, side: dict[str, Any], row: int) -> Any:
    real = np.flatnonzero(side["attention_mask"][row])
    states = number(reading.final[row])
    if family in GENERATIVE:
        prompt = [at for at in real if side["labels"][row, at] < 0]
        return states[prompt].mean(0) if task == "qa" else states[prompt[-1]]
    states = states[: len(real)]
    if family.endswith("_qa"):
        return states.mean(0)
    return states[0] if family in ("xlmr", "bert") else states[-1]  # the end-of-sequence token is the last


def kl_by_hand(source: Any, target: Any) -> float:
    p, q = softmax(number(source)), softmax(number(target))
    return float((p * np.log(p / q)).sum())


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", [*FAMILIES, "llama:qa"])
def test_the_loss_by_hand(family: str, side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    family, _, qa = family.partition(":")
    model = mixup(family, **({"task": "qa"} if qa else {}))
    runs = head_states(model, monkeypatch)
    inputs = batch(family, side=side, source_side=side)
    with torch.no_grad():
        output = model(**inputs)
    theirs, ours = runs
    task = model.mixup_config.task
    assert output.target_loss.item() == pytest.approx(task_by_hand(family, ours.output, inputs), rel=1e-4)
    assert output.source_loss.item() == pytest.approx(
        task_by_hand(family, theirs.output, inputs["source"]), rel=1e-4
    )
    squares, kl = [], []
    for row in range(3):
        source = representation_by_hand(family, task, theirs, inputs["source"], row)
        target = representation_by_hand(family, task, ours, inputs, row)
        squares.append(((source - target) ** 2).mean())
        if task == "classification":
            kl.append(kl_by_hand(*(_answer(family, run, given, row) for run, given in _pair(runs, inputs))))
    assert output.mse.item() == pytest.approx(np.mean(squares), rel=1e-3)
    alpha = 0.4 if task == "classification" else 0.2
    total = alpha * output.source_loss + (1 - alpha) * output.target_loss + output.mse
    if task == "classification":
        assert output.kl.item() == pytest.approx(np.mean(kl), rel=1e-3)
        total = total + output.kl
    else:
        assert output.kl is None
    torch.testing.assert_close(output.loss, total)


def _pair(runs: list[Any], inputs: dict[str, Any]) -> list[tuple[Any, dict[str, Any]]]:
    return [(runs[0], inputs["source"]), (runs[1], inputs)]


def _answer(family: str, reading: Any, side: dict[str, Any], row: int) -> Any:
    """Logits of the class, or of the answer's first token."""
    if family not in GENERATIVE:
        return reading.output.logits[row]
    answer = int((side["labels"][row] >= 0).long().argmax())
    return reading.output.logits[row, answer - 1]


def test_mt5_reads_the_state_that_its_head_reads() -> None:
    model, inputs = mixup("mt5"), batch("mt5")
    head = model.base.classification_head
    read: list[Any] = []
    head.register_forward_pre_hook(lambda module, args: read.append(args[0]))
    with torch.no_grad():
        output = model(**inputs)
    torch.testing.assert_close(output.mse, ((read[0] - read[1]) ** 2).mean())


def test_weights_are_settings() -> None:
    inputs = batch("xlmr")
    usual = mixup("xlmr")(**inputs)
    other = mixup("xlmr", alpha=0.7, mse_weight=3.0, kl_weight=0.25)(**inputs)
    wanted = 0.7 * usual.source_loss + 0.3 * usual.target_loss + 3 * usual.mse + 0.25 * usual.kl
    torch.testing.assert_close(other.loss, wanted)
    bare = mixup("xlmr", mse_weight=0.0, kl_weight=0.0)(**inputs)
    assert bare.mse is None
    assert bare.kl is None
    torch.testing.assert_close(bare.loss, 0.4 * usual.source_loss + 0.6 * usual.target_loss)


def test_a_classifications_source_has_the_targets_label() -> None:
    model, inputs = mixup("xlmr").train(), batch("xlmr")
    torch.manual_seed(0)
    told = model(**inputs).loss
    del inputs["source"]["labels"]
    torch.manual_seed(0)
    torch.testing.assert_close(model(**inputs).loss, told)


@pytest.mark.parametrize("family", ["xlmr_qa", "llama"])
def test_labels_the_source_lacks(family: str) -> None:
    """A back-translation may have lost its answer: the target's loss then stands alone. Gold must not."""
    model, inputs = mixup(family), batch(family)
    bare = {name: inputs["source"][name] for name in ("input_ids", "attention_mask")}
    output = model(**inputs | {"source": bare})
    assert output.source_loss is None
    rest = output.mse if output.kl is None else output.mse + output.kl
    torch.testing.assert_close(output.loss, output.target_loss + rest)
    model.train()
    with pytest.raises(ValueError, match="source has none"):
        model(**inputs | {"source": bare})
    late = model(**inputs | {"back_translation": bare, "step": 10**9})
    assert late.gold is False
    assert late.source_loss is None


def test_detached_source_gets_no_gradient_from_the_consistency_terms() -> None:
    """What is left of them for the classifier's bias is the target's side alone."""
    gradients = {}
    for detach in (False, True):
        model = mixup("xlmr", alpha=0.0, mse_weight=0.0, detach_source=detach)
        output = model(**batch("xlmr"))
        bias = model.base.classifier.modules_to_save["default"].out_proj.bias
        (gradients[detach],) = torch.autograd.grad(output.kl, bias)
        p, q = output.source_logits.softmax(-1), output.logits.softmax(-1)
        if detach:
            torch.testing.assert_close(gradients[True], (q - p).mean(0), rtol=1e-3, atol=1e-5)
    assert (gradients[True] - gradients[False]).abs().max() > 1e-4


def test_spans_come_back_in_the_callers_columns() -> None:
    model = mixup("xlmr_qa")
    with torch.no_grad():
        right, left = (model(**batch("xlmr_qa", side=side, width=12)) for side in ("right", "left"))
    torch.testing.assert_close(left.loss, right.loss)
    for row, length in enumerate((9, 6, 7)):
        torch.testing.assert_close(left.start_logits[row, 12 - length :], right.start_logits[row, :length])
        assert (right.start_logits[row, length:] == torch.finfo(torch.float32).min).all()
    outside = batch("xlmr_qa")
    outside["start_positions"] = torch.tensor([1, 1, 9])  # beyond the text, cut off: ignored
    assert model(**outside).target_loss.isfinite()


def test_what_is_not_a_call_is_refused() -> None:
    model, inputs = mixup("xlmr"), batch("xlmr")
    with pytest.raises(ValueError, match="wants source"):
        model(input_ids=inputs["input_ids"])
    with pytest.raises(ValueError, match="wants source"):
        mixup("llama").generate(inputs["input_ids"])
    with pytest.raises(ValueError, match="each target wants its own source"):
        model(**inputs | {"source": text((4, 5), 3)})
    with pytest.raises(ValueError, match="source: inputs_embeds is none of"):
        model(**inputs | {"source": {"inputs_embeds": None}})
    empty = {name: value.clone() for name, value in inputs["source"].items()}
    empty["attention_mask"][1] = 0
    with pytest.raises(ValueError, match="a row has no real token"):
        model(**inputs | {"source": empty})
    with pytest.raises(ValueError, match="step="):
        model.train()(**inputs | {"back_translation": inputs["source"]})
    with pytest.raises(ValueError, match="does not generate"):
        model.generate(inputs["input_ids"], source=inputs["source"])
    with pytest.raises(ValueError, match="assistant_model"):
        mixup("llama").generate(inputs["input_ids"], source=inputs["source"], assistant_model=object())
