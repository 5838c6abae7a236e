"""Statistics of a comparison of two rows (methods) of a sweep: effect with its interval, test, and what can be said.

    pair = paired(flare, lora, task="nusax", language="ace", metric="macro_f1", score=task.score, labels=task.labels)
    print(conclude({"flare - lora": [pair]})["flare - lora"])

Pure numpy and scipy: what it knows of runs are their predictions and seeds. docs/statistics.md says why each is used
and what error rates were measured.
"""

from flare_ray.report.statistics.bootstrap import Interval, paired_bootstrap
from flare_ray.report.statistics.conclusion import Conclusion, Verdict, conclude
from flare_ray.report.statistics.holm import holm
from flare_ray.report.statistics.order import almost_stochastic_order, violation_ratio
from flare_ray.report.statistics.paired import Paired, Predictions, paired
from flare_ray.report.statistics.sign_flip import SignFlip, permutation_test

__all__ = [
    "Conclusion",
    "Interval",
    "Paired",
    "Predictions",
    "SignFlip",
    "Verdict",
    "almost_stochastic_order",
    "conclude",
    "holm",
    "paired",
    "paired_bootstrap",
    "permutation_test",
    "violation_ratio",
]
