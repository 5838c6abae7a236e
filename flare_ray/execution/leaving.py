"""Whether a node of this worker group is about to be taken away: a spot instance reclaimed, a pod evicted.

Ray is told some time before, and Train tells its workers. What is left of that time is for a checkpoint: the group
ends with it, and the board gives its work to another one.
"""

from __future__ import annotations


def leaving() -> bool:
    """From inside of a Train worker. Train's public question to this effect makes all workers wait for each other."""
    from ray.train.v2._internal.execution.context import get_train_context

    return get_train_context().preemption_context.preemption_info is not None
