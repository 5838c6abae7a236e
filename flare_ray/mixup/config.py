"""Settings of X-Mixup, and the values Yang et al. give them per kind of task."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

Form = Literal["classification", "span", "generation"]
Task = Literal["classification", "qa"]

# Yang et al., Table 8 and their scripts: α, the KL term, k of the scheduled sampling.
_USUAL: dict[str, dict[str, float]] = {
    "classification": {"alpha": 0.4, "kl_weight": 1.0, "sampling_k": 1000.0},
    "qa": {"alpha": 0.2, "kl_weight": 0.0, "sampling_k": 2000.0},
}
_TASK_OF_FORM: dict[str, Task] = {"classification": "classification", "span": "qa"}


@dataclass(frozen=True)
class MixupConfig:
    """How to mix, and what to train on. None stands for the value that Yang et al. use for the task.

    form: what the model's head is: sequence classification, span extraction, or causal generation.
    task: what is asked, where the form leaves it open: a generating model may classify or answer questions.
    block: number of the block that mixes; by default 0 for classification and 15/24 of the depth for QA.
    alpha: weight of the source's task loss; 1 − alpha is the target's. 0.4 for classification, 0.2 for QA.
    mse_weight: weight of the squared distance between the source's and the target's representation.
    kl_weight: weight of KL(source ‖ target) of the predictions. 1 for classification; QA has none.
    sampling_k: k of the scheduled sampling between gold and back-translated source. 1000, for QA 2000.
    ratio_limit: what λ stays below.
    detach_source: True keeps the gradients of MSE and KL out of the source's side; Yang et al.'s code lets them
        into both.
    """

    form: Form = "classification"
    task: Task | None = None
    block: int | None = None
    alpha: float | None = None
    mse_weight: float = 1.0
    kl_weight: float | None = None
    sampling_k: float | None = None
    ratio_limit: float = 0.5
    detach_source: bool = False

    def __post_init__(self) -> None:
        if problems := self._problems():
            raise ValueError("X-Mixup settings:\n" + "\n".join(f"  {problem}" for problem in problems))

    def _problems(self) -> list[str]:
        if self.form not in get_args(Form):
            return [f"form: got {self.form!r}, wanted one of {', '.join(get_args(Form))}"]
        fixed = _TASK_OF_FORM.get(self.form)
        if fixed is None and self.task not in get_args(Task):
            return [f"task: got {self.task!r}; form='generation' wants 'classification' or 'qa'"]
        if fixed is not None and self.task not in (None, fixed):
            return [f"task: got {self.task!r}, but form={self.form!r} is {fixed!r}"]
        wanted = {
            "alpha: wanted 0 to 1": self.alpha is None or 0 <= self.alpha <= 1,
            "mse_weight: wanted 0 or more": 0 <= self.mse_weight < math.inf,
            "kl_weight: wanted 0 or more": self.kl_weight is None or 0 <= self.kl_weight < math.inf,
            "sampling_k: wanted more than 0": self.sampling_k is None or 0 < self.sampling_k < math.inf,
            "ratio_limit: wanted more than 0, up to 1": 0 < self.ratio_limit <= 1,
            "block: wanted a number from 0": self.block is None or self.block >= 0,
        }
        problems = [
            f"{text}, got {getattr(self, text.partition(':')[0])!r}"
            for text, good in wanted.items()
            if not good
        ]
        if (fixed or self.task) == "qa" and self.kl_weight:
            problems.append(f"kl_weight: got {self.kl_weight!r}, but QA has no KL term: leave it out")
        return problems

    def resolved(self) -> MixupConfig:
        """The same with every None but `block`'s replaced by its value."""
        task = self.task or _TASK_OF_FORM[self.form]
        missing = {name: value for name, value in _USUAL[task].items() if getattr(self, name) is None}
        return replace(self, task=task, **missing)  # type: ignore[arg-type]

    def block_of(self, depth: int) -> int:
        """Number of the block that mixes in a model of `depth` blocks. Raises ValueError beyond the last."""
        if self.block is None:
            usual = 0 if self.resolved().task == "classification" else round(15 / 24 * depth)
            return min(usual, depth - 1)
        if self.block >= depth:
            raise ValueError(f"block={self.block}, but the model's last block is {depth - 1}")
        return self.block

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values."""
        return asdict(self)
