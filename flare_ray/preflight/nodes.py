"""The nodes of the cluster, beside the driver and one another; on one machine, that machine.

    found, nodes = look(study.store, folders=("/data/nusax",))

Each node of a cluster is asked by a Ray task that wants nothing. A node that is not there yet cannot be asked: what
starts on it looks for the store's own id first (store/identity.py).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flare_ray.execution.cluster import cluster_address
from flare_ray.preflight.findings import Finding, bad, warning
from flare_ray.preflight.probe import Asked, Node, probe
from flare_ray.store import Store

TO_COME = "nodes to come"
"""The finding that an autoscaler may start nodes."""
_SAME = ("python", "ray", "torch")
"""What must be the same everywhere; a difference in other packages is told."""
_SKEW = 30.0
"""Seconds that clocks may differ; object stores refuse requests from 15 minutes on."""
_REFUSED = 900.0
_PATIENCE = 120.0
"""Seconds in which a node answers: a worker is started on it first, and a job's working directory laid out."""


def look(store: Store, folders: Sequence[str]) -> tuple[list[Finding], list[Node]]:
    """Findings about all nodes, and what they answered. Ray must be joined where there is a cluster."""
    asked = Asked(store.url, f".preflight/{uuid.uuid4().hex}", tuple(folders))
    try:
        store.files.write(f"{asked.place}/driver", b"")
        found = list(_clock_of(store))
        driver = probe(asked, "driver-itself")
        if cluster_address() is None:
            return found, [driver]
        more, answers = _ask(asked)
        lost = [one for key, one in answers.items() if not one.storage and not _written(store, asked, key)]
    finally:
        store.remove(asked.place)
    nodes = list(answers.values())
    found += [*more, *compare(driver, nodes), *_storage(nodes, lost), *_may_grow(), _strangers()]
    return found, nodes


def compare(driver: Node, nodes: Sequence[Node]) -> Iterator[Finding]:
    """What differs between the nodes and the driver's machine."""
    if different := [one.name for one in nodes if one.code != driver.code]:
        said = f"other code than the driver's on {_names(different)}"
        yield bad(
            "flare_ray on the nodes", said, "install the same everywhere, or send it with --working-dir"
        )
    for name in sorted({name for one in [driver, *nodes] for name in one.versions}):
        own = _public(driver.versions.get(name))
        others = {one.name: _public(one.versions.get(name)) for one in nodes}
        if odd := {node: have for node, have in others.items() if have != own}:
            said = f"{own} with the driver, {', '.join(f'{have} on {node}' for node, have in odd.items())}"
            make = bad if name in _SAME else warning
            yield make(f"{name} on the nodes", said, "the same image or environment on every node")
    for one in nodes:
        for folder, content in one.folders.items():
            if content is None and driver.folders.get(folder) is not None:
                yield bad(
                    folder, f"not there on {one.name}", "put it at this path on every node, or on the hub"
                )
            elif content != driver.folders.get(folder):
                yield bad(
                    folder, f"other files on {one.name} than with the driver", "the same files everywhere"
                )
    yield Finding("nodes", f"{len(nodes)} asked: {_names([one.name for one in nodes])}")


def _strangers() -> Finding:
    import ray

    from flare_ray.preflight.strangers import strangers_finding

    return strangers_finding(ray.get_runtime_context().gcs_address)


def _names(names: Sequence[str]) -> str:
    several = list(dict.fromkeys(names))
    return ", ".join(several[:5]) + (f" and {len(several) - 5} more" if len(several) > 5 else "")


def _public(version: str | None) -> str:
    """Without the build: a head without GPUs may have torch's CPU build."""
    return (version or "nothing").partition("+")[0]


def _storage(nodes: Sequence[Node], lost: Sequence[Node]) -> Iterator[Finding]:
    wanted = "a file system that every node mounts at this path, or an object store"
    for one in nodes:
        if one.storage:
            yield bad("storage", f"{one.name}: {one.storage}", wanted)
        elif one in lost:
            yield bad("storage", f"{one.name} writes where the driver does not see it", wanted)
    if nodes and not lost and not any(one.storage for one in nodes):
        yield Finding("storage of the nodes", "every node sees what the others write")


def _clock_of(store: Store) -> Iterator[Finding]:
    import time

    before = time.time()
    at = store.files.now()
    yield clock("the storage", at, before, time.time(), refused=not store.local)


def clock(whose: str, at: float, before: float, after: float, refused: bool = False) -> Finding:
    """A clock's answer against this machine's times before and after it. refused: whether much is too much."""
    skew = max(before - at, at - after, 0.0)
    if skew <= _SKEW:
        return Finding(f"clock of {whose}", "agrees with this machine's")
    make = bad if refused and skew > _REFUSED else warning
    return make(f"clock of {whose}", f"{skew:.0f} s off this machine's", "NTP on every machine")


def _ask(asked: Asked) -> tuple[list[Finding], dict[str, Node]]:
    """Every node's answer by its Ray id, and who did not give one."""
    import time

    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task: Any = ray.remote(num_cpus=0, max_retries=0)(probe)
    sent = time.time()
    waiting = {}
    alive = {one["NodeID"]: one["NodeManagerHostname"] for one in ray.nodes() if one["Alive"]}
    for key in alive:
        where = NodeAffinitySchedulingStrategy(key, soft=False)
        waiting[task.options(scheduling_strategy=where).remote(asked, key)] = key
    done, late = ray.wait(list(waiting), num_returns=len(waiting), timeout=_PATIENCE)
    found, answers = [], {}
    for answer in done:
        name = alive[waiting[answer]]
        try:
            node = answers[waiting[answer]] = ray.get(answer)
        except ray.exceptions.RayTaskError as error:  # raised by our code, or in its place
            said = str(error).strip().splitlines()[-1]
            found.append(bad(f"node {name}", said, "the same package on every node"))
        except ray.exceptions.RayError as error:
            said = f"went away: {type(error).__name__}"
            found.append(warning(f"node {name}", said, "look into Ray's logs if it was not meant to"))
        else:
            seen = clock(name, node.clock, sent, time.time())
            found += [] if seen.good else [seen]
    for answer in late:
        ray.cancel(answer, force=True)
        said = f"did not answer within {_PATIENCE:.0f} s"
        found.append(warning(f"node {alive[waiting[answer]]}", said, "look at its load and its raylet's log"))
    return found, answers


def _written(store: Store, asked: Asked, key: str) -> bool:
    """Whether the driver sees what a node wrote."""
    return store.files.exists(f"{asked.place}/{key}")


def _may_grow() -> Iterator[Finding]:
    """Nodes that an autoscaler may start."""
    import ray

    from flare_ray.execution.growth import most

    now: Mapping[str, float] = ray.cluster_resources()
    more = {kind: amount for kind, amount in most().items() if amount > now.get(kind, 0.0)}
    if more:
        amounts = ", ".join(f"{amount:g} {kind}" for kind, amount in sorted(more.items()))
        yield Finding(
            TO_COME,
            f"up to {amounts}: not there yet, so not looked at; each looks for the storage first",
        )
