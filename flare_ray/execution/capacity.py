"""How many stages run at a time: what each needs, against what the cluster can have.

A stage that the whole cluster could not hold, or of which no node could hold a single worker, would wait for ever,
without a word from Ray: that is an error before anything starts. One that must wait for a node to be started is only
waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from flare_ray.errors import InputError, Problem
from flare_ray.execution.growth import VARIABLE
from flare_ray.plan.grid import Base
from flare_ray.plan.schema import Resources
from flare_ray.plan.stages import Translating

Needs = Mapping[str, float]
ResourcesOf = Callable[[str, str], Resources]
"""Of a model's name and a task."""
DRIVER_NODE = "flare_ray_driver"
"""Ray's custom resource of the nodes that stay: what a cluster loses must not take trials with it."""
_SLACK = 1e-9


def translator_gpus(resources: Resources) -> float:
    """GPUs of one translator."""
    given = resources.gpus_per_translator
    return float(min(1, resources.gpus_per_worker) if given is None else given)


def worker_needs(resources: Resources) -> dict[str, float]:
    """What one training worker reserves, in Ray's words."""
    wanted = {"CPU": float(resources.cpus_per_worker), "GPU": float(resources.gpus_per_worker)}
    return {kind: amount for kind, amount in wanted.items() if amount} | _kind_of_gpu(resources)


def group_needs(resources: Resources) -> dict[str, float]:
    """What a worker group reserves."""
    return {kind: resources.workers * amount for kind, amount in worker_needs(resources).items()}


def translator_needs(resources: Resources) -> dict[str, float]:
    """What one translator reserves."""
    wanted = {"CPU": float(resources.cpus_per_translator), "GPU": translator_gpus(resources)}
    return {kind: amount for kind, amount in wanted.items() if amount}


def trial_needs(cluster: Needs) -> dict[str, float]:
    """What a trial itself reserves, which Train's controller or a translation's bookkeeping goes with.

    Tune wants every trial to reserve something. A share of a CPU, however small, would cost a whole worker its place
    on a machine that the workers fill; what a trial uses is a little memory. Where nodes are marked as those that
    stay, it goes to one of them.
    """
    stays = {DRIVER_NODE: 0.001} if cluster.get(DRIVER_NODE) else {}
    return {"memory": 100.0 * 2**20} | stays


def _kind_of_gpu(resources: Resources) -> dict[str, float]:
    """Ray gives each node with GPUs of a kind a little of a resource of that name."""
    kind = resources.accelerator_type
    return {f"accelerator_type:{kind}": 0.001} if kind else {}


def fitting(needs: Needs, cluster: Needs) -> int:
    """How many that need so much the cluster can hold at once."""
    return min(int(cluster.get(kind, 0.0) / amount + _SLACK) for kind, amount in needs.items())


def translators(resources: Resources, cluster: Needs) -> int:
    """How many translators the cluster can hold at once. Raises InputError when not even one."""
    needs = translator_needs(resources)
    if problems := _unsatisfiable("resources", "a translator", needs, cluster):
        raise InputError("resources", problems)
    fits = fitting(needs, cluster)
    return min(fits, resources.translators or fits)


class Capacity:
    """The room for stages. resources_of: of a base model's (model, task); common: of what belongs to none.

    nodes: what one node of each kind has, None where that is not known.
    """

    def __init__(
        self,
        cluster: Needs,
        resources_of: ResourcesOf,
        common: Resources,
        nodes: Sequence[Needs] | None = None,
    ):
        self.cluster, self.resources_of, self.common = cluster, resources_of, common
        self.nodes = nodes
        self.used: dict[str, float] = {}
        self.running = 0
        self.pools: dict[Translating, int] = {}
        """Translators of each stage that runs."""

    def resources(self, work: Base | Translating) -> Resources:
        """By which a stage of such work is executed."""
        return self.common if isinstance(work, Translating) else self.resources_of(work.model.name, work.task)

    def needs(self, work: Base | Translating) -> Needs:
        """What a stage of such work reserves while it runs; of a pool of translators, the first one."""
        wanted = self.resources(work)
        return translator_needs(wanted) if isinstance(work, Translating) else group_needs(wanted)

    def check(self, works: Iterable[Base | Translating]) -> None:
        """Raises InputError, with everything that the cluster could never hold."""
        problems: dict[Problem, None] = {}
        for work in works:
            where, what = "resources", "a translator"
            if isinstance(work, Base):
                count = self.resources(work).workers
                what = f"{work.model.name} on {work.task}, {count} worker{'s' * (count > 1)}"
            found = _unsatisfiable(where, what, self.needs(work), self.cluster)
            problems.update(dict.fromkeys(found or self._on_no_node(where, what, work)))
        if problems:
            raise InputError("resources", list(problems))

    def _on_no_node(self, where: str, what: str, work: Base | Translating) -> list[Problem]:
        resources = self.resources(work)
        one = worker_needs(resources) if isinstance(work, Base) else translator_needs(resources)
        if self.nodes is None or any(fitting(one, node) for node in self.nodes):
            return []
        kinds = {", ".join(f"{node.get(kind, 0):g} {kind}" for kind in one) for node in self.nodes}
        found = f"{what}: one needs {amounts(one)}, on nodes of {' or '.join(sorted(kinds))}"
        return [Problem(where, found, "what a single node has")]

    def slots(self, works: Iterable[Base | Translating]) -> int:
        """How many stages of the most frequent needs run at a time, for sizing packs."""
        fits = [fitting(self.needs(work), self.cluster) for work in works]
        most = max(fits, default=1)
        return max(1, min(most, self.common.max_concurrent or most))

    def fits(self, work: Base | Translating) -> bool:
        """Whether there is room for another stage."""
        if self._full:
            return False
        needs = self.needs(work)
        return all(
            self.used.get(kind, 0.0) + amount <= self.cluster.get(kind, 0.0) + _SLACK
            for kind, amount in needs.items()
            if not kind.startswith("accelerator_type:")
        )

    def take(self, work: Base | Translating) -> None:
        """A stage starts; a pool with one translator."""
        self.running += 1
        if isinstance(work, Translating):
            self.pools[work] = 1
        self._reserve(self.needs(work), 1)

    def grow(self, work: Translating, wanted: int, beside: Iterable[Base | Translating]) -> int:
        """Makes a pool as large as wanted if there is room, at least one translator; how many it has now.

        beside: what may start while it works; for one of these there is room afterwards, if there was any.
        """
        one = self.needs(work)
        self._reserve(one, -self.pools[work])
        groups = [] if self._full else [self.needs(other) for other in beside]
        free = {
            kind: amount
            - self.used.get(kind, 0.0)
            - max((needs.get(kind, 0.0) for needs in groups), default=0.0)
            for kind, amount in self.cluster.items()
        }
        most = min(wanted, self.common.translators or wanted)
        self.pools[work] = max(1, min(most, fitting(one, free)))
        self._reserve(one, self.pools[work])
        return self.pools[work]

    def give(self, work: Base | Translating) -> None:
        """A stage ended."""
        self.running -= 1
        count = self.pools.pop(work) if isinstance(work, Translating) else 1
        self._reserve(self.needs(work), -count)

    def devices(self, work: Base | Translating) -> tuple[str, float]:
        """What hours are counted of while such work runs, and how many: its GPUs, or CPU cores where it has none."""
        needs, count = self.needs(work), self.pools.get(work, 1) if isinstance(work, Translating) else 1
        kind = "GPU" if needs.get("GPU") else "CPU"
        return kind, count * needs.get(kind, 0.0)

    @property
    def _full(self) -> bool:
        return self.running >= (self.common.max_concurrent or self.running + 1)

    def _reserve(self, needs: Needs, count: int) -> None:
        for kind, amount in needs.items():
            self.used[kind] = self.used.get(kind, 0.0) + count * amount


def _unsatisfiable(where: str, what: str, needs: Needs, cluster: Needs) -> list[Problem]:
    if fitting(needs, cluster):
        return []
    wants = amounts(needs)
    has = ", ".join(f"{cluster.get(kind, 0):g} {kind}" for kind in needs)
    wanted = (
        f"what the cluster can hold; if it grows and Ray does not know how far, {VARIABLE} (docs/cluster.md)"
    )
    return [Problem(where, f"{what}: needs {wants}, on a cluster that can have {has}", wanted)]


def amounts(needs: Needs) -> str:
    """For people."""
    return ", ".join(f"{amount:g} {kind}" for kind, amount in needs.items())
