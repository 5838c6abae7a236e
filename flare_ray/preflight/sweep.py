"""What a sweep asks of the machines: memory for its models, disk for its results, weights that load."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from flare_ray.execution.capacity import translator_gpus
from flare_ray.loading import code_problems
from flare_ray.plan.checkpoints import is_local, local_path
from flare_ray.plan.cost import Work
from flare_ray.plan.disk import Disk, in_flight
from flare_ray.plan.grid import Base, Run
from flare_ray.plan.schema import ModelSpec, Resources
from flare_ray.plan.stages import Stages
from flare_ray.preflight.findings import Finding, bad, warning
from flare_ray.preflight.memory import Need, largest, need_of, translator_need
from flare_ray.preflight.probe import Node
from flare_ray.store import Store

_GIB = 2**30


def memory_findings(
    todo: Stages,
    resources_of: Callable[[str, str], Resources],
    common: Resources,
    nodes: Sequence[Node],
    more: bool = False,
) -> Iterator[Finding]:
    """Whether what is to be trained fits a GPU, or the memory of a machine where there are no GPUs.

    more: whether nodes are to come, which may have more than those that are there.
    """
    needs: dict[tuple[str, str], list[Need]] = {}
    for work in _kinds([*todo.bases, *todo.todo]):
        base = work.base if isinstance(work, Run) else work
        key = base.model.name, base.task
        if need := need_of(work, resources_of(*key)):
            needs.setdefault(key, []).append(need)
    places: list[_Place] = []
    for (model, task), found in needs.items():
        resources = resources_of(model, task)
        kind = resources.accelerator_type
        places.append(_Place(f"{model} on {task}", largest(found), resources.gpus_per_worker, kind))
    corpora = [corpus for stage in todo.translations for corpus in stage.corpora]
    if found := [need for corpus in corpora if (need := translator_need(corpus))]:
        places.append(_Place("a translator", largest(found), translator_gpus(common)))
    if not any(node.gpus for node in nodes):
        if blind := [place for place in places if place.gpus]:
            most = max(blind, key=lambda place: place.need.whole)
            said = f"none is seen on the nodes that are there; {most.name} takes most: {most.asked}"
            yield warning("GPUs", said, "nothing, where nodes with GPUs are still to come")
        places = [place for place in places if not place.gpus]
    for place in places:
        yield from _fits(place, nodes, more)


@dataclass(frozen=True)
class _Place:
    """What needs memory. need: of one worker; gpus: what it reserves; kind: Ray's name of the kind it wants."""

    name: str
    need: Need
    gpus: float
    kind: str | None = None

    @property
    def asked(self) -> str:
        whole, weights = self.need.whole / _GIB, self.need.weights / _GIB
        return f"about {whole:.1f} GiB a worker, {weights:.1f} of them frozen weights"

    def rooms(self, nodes: Sequence[Node]) -> dict[str, float]:
        """Bytes by the name of the device, or of the node."""
        if not self.gpus:
            return {f"{node.name}'s memory": node.memory for node in nodes}
        devices = [gpu for node in nodes for gpu in node.gpus or ()]
        kind = (self.kind or "").partition("-")[0]
        same = [gpu for gpu in devices if kind and kind in gpu.name]
        return {gpu.name: gpu.bytes * min(self.gpus, 1) for gpu in same or devices}


def _kinds(works: Iterable[Run | Base]) -> Iterable[Run | Base]:
    """One piece of work of each that needs the same."""
    kinds: dict[tuple[object, ...], Run | Base] = {}
    for work in works:
        base = work.base if isinstance(work, Run) else work
        sizes = (work.settings.get(name) for name in ("rank", "batch_size", "max_length"))
        kinds.setdefault((type(work), base.model.name, base.task, *sizes), work)
    return kinds.values()


def _fits(place: _Place, nodes: Sequence[Node], more: bool) -> Iterator[Finding]:
    need, asked, rooms = place.need, place.asked, place.rooms(nodes)
    what = f"memory for {place.name}"
    if not rooms:
        return
    room = ", ".join(f"{size / _GIB:.0f} GiB on {name}" for name, size in rooms.items())
    most, least = max(rooms.values()), min(rooms.values())
    remedy = "a GPU with more memory (resources.accelerator_type), quantization: nf4"
    if need.weights > most:
        make = warning if more else bad
        yield make(what, f"{asked}; there are {room}", f"{remedy}, or zero_stage: 3 over more workers")
    elif need.whole > most:
        found = f"{asked}; there are {room}: batches are halved until they fit"
        yield warning(what, found, f"{remedy}, micro_batch, or gradient_checkpointing")
    elif need.weights > least:
        found = f"{asked}; there are {room}: not everywhere"
        yield warning(what, found, "resources.accelerator_type: the kind of GPU that it fits on")
    else:
        yield Finding(what, f"{asked}; there are {room}")


def disk_findings(store: Store, todo: Stages, common: Resources) -> Iterator[Finding]:
    """Whether what the plan expects goes into the storage; only a folder says how much is free."""
    if not store.local:
        return
    disk = Disk((), lambda kind, fingerprint: None)
    corpora = [corpus for stage in todo.translations for corpus in stage.corpora]
    works: list[Work] = [*corpora, *todo.bases, *todo.todo]
    wanted = sum(disk.total(works).bytes.values())
    wanted += in_flight([*todo.bases, *todo.todo], common.max_concurrent or 1)
    one = max((disk.of(base).bytes or 0.0 for base in todo.bases), default=0.0)
    free = shutil.disk_usage(store.root).free
    found = f"{free / _GIB:.1f} GiB free at {store.root}, about {wanted / _GIB:.1f} wanted by what is left"
    remedy = "free some (`flare-ray store gc`), or another storage"
    if one > free:
        yield bad("disk for the storage", f"{found}, {one / _GIB:.1f} by one base model", remedy, passes=True)
    elif wanted > free:
        yield warning("disk for the storage", found, remedy)
    else:
        yield Finding("disk for the storage", found)


def cache_findings(store: Store, todo: Stages, nodes: Sequence[Node]) -> Iterator[Finding]:
    """Whether copies of what is stored elsewhere go into every node's cache."""
    if store.local:
        return
    disk = Disk((), lambda kind, fingerprint: None)
    wanted = sum(disk.of(base).bytes or 0.0 for base in todo.bases)
    for node in nodes:
        if node.cache_free < wanted:
            found = f"{node.cache_free / _GIB:.0f} GiB free at {node.cache}"
            found += f", up to {wanted / _GIB:.0f} for copies of base models"
            yield warning(f"cache of {node.name}", found, "FLARE_RAY_CACHE on a larger disk")


def model_findings(models: Iterable[ModelSpec]) -> Iterator[Finding]:
    """Local checkpoints as pickles, and kernels that are not installed."""
    for model in models:
        if is_local(model.checkpoint):
            for problem in code_problems(local_path(model.checkpoint), model.name):
                yield bad(problem.where, problem.found, problem.wanted)
        if is_local(model.checkpoint) and _only_pickled(local_path(model.checkpoint)):
            found = "weights as PyTorch pickles, which are read without running what is in them"
            remedy = "load the model with transformers and save_pretrained it: that writes safetensors"
            yield warning(model.name, found, remedy)
        if model.attention == "flash_attention_2" and not find_spec("flash_attn"):
            yield warning(
                model.name, "attention: flash_attention_2, and no flash_attn here", "pip install flash-attn"
            )


def _only_pickled(folder: Path) -> bool:
    return any(folder.glob("*.bin")) and not any(folder.glob("*.safetensors"))


def local_folders(references: Iterable[str]) -> list[str]:
    """Those of checkpoints and data that every node must have at the same place."""
    return sorted({str(local_path(one)) for one in dict.fromkeys(references) if is_local(one)})
