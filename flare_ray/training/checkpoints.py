"""Checkpoints of unfinished work in the store: written by all workers, read back whole or not at all.

    checkpoints/<fingerprint>/<step>/<token>-shared.safetensors    what every worker holds alike
    checkpoints/<fingerprint>/<step>/<token>-0.safetensors         what worker 0 alone holds; and so on
    checkpoints/<fingerprint>/<step>/manifest.json                 last: how it was made, the files, their checksums

Each worker puts its own file, the first one the manifest when all are there: without it there is no checkpoint. Then
the former one is removed. Files are safetensors and JSON, so reading one executes nothing.

    keeper = Keeper(store, run.fingerprint, every_seconds=300, stop_requested=ear.heard)
    record = train_run(bench, "flare", "sw", settings, seed, out, keeper=keeper)
    store.write("runs", run.fingerprint, record, out)
    keeper.forget()

What was written by another number of workers, ZeRO stage, micro-batch or version is not loaded: the work starts over
and says so.
"""

from __future__ import annotations

import logging
import tempfile
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import flare_ray
from flare_ray.store import Damaged, Store
from flare_ray.store.guard import OtherStore
from flare_ray.store.manifest import CHECKPOINT, checksum_of
from flare_ray.store.paths import path_problem
from flare_ray.training.engine import Group
from flare_ray.training.snapshot import Tensors

log = logging.getLogger(__name__)

FORMAT = 1
"""Raised when the files, or what is in them, get another form."""
MANIFEST = CHECKPOINT
_SHARED = "shared"


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Keeper:
    """Where one piece of work keeps its checkpoint, and when it writes one.

    every_seconds: of training between two; work that takes less writes none. stop_requested: asked after every step,
    so it must answer at once; when it says yes on any worker, all save a checkpoint and stop.
    """

    store: Store
    fingerprint: str
    every_seconds: float = 300.0
    stop_requested: Callable[[], bool] = _never

    @property
    def place(self) -> str:
        """The folder in the store."""
        return f"checkpoints/{self.fingerprint}"

    def forget(self) -> None:
        """Removes what is kept: the work has a record now."""
        self.store.remove(self.place)


@dataclass(frozen=True)
class Checkpoint:
    """One that was read back. facts: plain values, alike for all workers; tensors: shared ones and the worker's."""

    step: int
    facts: dict[str, Any]
    tensors: Tensors


class Checkpoints:
    """One worker's side of a keeper. Every worker of the group calls the same methods at the same step.

    group: as it was given; a micro-batch that memory made smaller is a fact of the training, not of how it was asked.
    """

    def __init__(self, keeper: Keeper, group: Group):
        self.keeper, self.group = keeper, group
        self.made = {
            "format": FORMAT,
            "flare_ray": flare_ray.__version__,
            "torch": torch.__version__,
            "deepspeed": version("deepspeed"),
            "device": group.device.partition(":")[0],
            "workers": group.workers,
            "zero_stage": group.zero_stage,
            "micro_batch": group.micro_batch,
            "gradient_checkpointing": group.gradient_checkpointing,
        }

    def newest(self) -> Checkpoint | None:
        """The newest whole checkpoint that was made as this group would make it; None where there is none."""
        for manifest in self._from_first(self._manifests() if self.group.first else None):
            step = manifest["step"]
            if manifest["made"] != self.made:
                self._note(step, f"was written with {_differences(manifest['made'], self.made)}")
                continue
            tensors = self._fetch(manifest)
            if all(self._gather(tensors is not None)):
                assert tensors is not None
                return Checkpoint(step, manifest["facts"], tensors)
            self._note(step, "is not whole")
        return None

    def save(self, step: int, facts: Mapping[str, Any], shared: Mapping[str, Any], own: Tensors) -> bool:
        """Keeps a checkpoint in the place of any other; whether that went well, which is the same on every worker.

        shared: the first worker's are kept. Storage that fails costs the checkpoint, not the training. Raises
        OtherStore on every worker when one of them does not see the store any more: nothing could be kept at the end.
        """
        token, folder = self._from_first(uuid.uuid4().hex), f"{self.keeper.place}/{step}"
        listed: dict[str, Any] = {}
        error: Exception | None = None
        try:
            parts = {str(self.group.worker): own} | ({_SHARED: shared} if self.group.first else {})
            listed = {part: self._put(folder, f"{token}-{part}", parts[part]) for part in parts}
        except Exception as raised:
            error = raised
        gathered = self._gather((listed, error and f"{type(error).__name__}: {error}"))
        problems = [problem for _, problem in gathered if problem]
        if self.group.first and not problems:
            files = {part: facts for found, _ in gathered for part, facts in found.items()}
            problems = self._finish(folder, {"step": step, "made": self.made, "files": files, "facts": facts})
        if problems and self.group.first:
            log.warning(
                "%s: no checkpoint at step %s: %s", self.keeper.fingerprint, step, "; ".join(problems)
            )
        problems = self._from_first(problems)
        if gone := next((one for one in problems if one.startswith(OtherStore.__name__)), None):
            raise OtherStore(gone)
        return not problems

    def _finish(self, folder: str, manifest: dict[str, Any]) -> list[str]:
        """Makes a checkpoint of files, and the only one; what went wrong, if anything."""
        keeper = self.keeper
        try:
            keeper.store.write_json(f"{folder}/{MANIFEST}", manifest)
        except Exception as error:
            return [f"{type(error).__name__}: {error}"]
        try:
            for name in keeper.store.names(keeper.place):
                if name != str(manifest["step"]):
                    keeper.store.remove(f"{keeper.place}/{name}")
        except Exception as error:  # the next one removes it
            log.warning("%s: an earlier checkpoint stays: %s", keeper.fingerprint, error)
        return []

    def _put(self, folder: str, name: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        from safetensors.torch import save_file

        files, place = self.keeper.store.files, f"{folder}/{name}.safetensors"
        files.check()
        with tempfile.TemporaryDirectory(prefix="flare-ray-") as scratch, files.space_for(place):
            file = Path(scratch) / "file"
            save_file(dict(tensors), file)
            if files.local:
                Path(files.path(folder)).mkdir(parents=True, exist_ok=True)
            size, checksum = files.put(file, place)
        return {"place": place, "bytes": size, "blake2b": checksum}

    def _manifests(self) -> list[dict[str, Any]]:
        """Of all that have one, the newest first."""
        store, found = self.keeper.store, []
        for name in sorted(filter(str.isdecimal, store.names(self.keeper.place)), key=int, reverse=True):
            try:
                manifest = store.read_json(f"{self.keeper.place}/{name}/{MANIFEST}")
            except (FileNotFoundError, Damaged):
                continue
            if _is_manifest(manifest, f"{self.keeper.place}/{name}"):
                found.append(manifest)
        return found

    def _fetch(self, manifest: dict[str, Any]) -> Tensors | None:
        """The shared tensors and this worker's; None where a file is missing or not what was written."""
        from safetensors.torch import load

        tensors: Tensors = {}
        with tempfile.TemporaryDirectory(prefix="flare-ray-") as scratch:
            for part in (_SHARED, str(self.group.worker)):
                listed, file = manifest["files"].get(part), Path(scratch) / part
                if listed is None:
                    return None
                try:
                    self.keeper.store.files.fetch(listed["place"], file)
                except (FileNotFoundError, Damaged):
                    return None
                if file.stat().st_size != listed["bytes"] or checksum_of(file) != listed["blake2b"]:
                    return None
                tensors |= load(file.read_bytes())
        return tensors

    def _note(self, step: int, why: str) -> None:
        if self.group.first:
            log.warning("%s: the checkpoint at step %s %s: starting over", self.keeper.fingerprint, step, why)

    def _from_first(self, value: Any) -> Any:
        found = [value]
        if self.group.workers > 1:
            torch.distributed.broadcast_object_list(found, src=0)
        return found[0]

    def _gather(self, value: Any) -> list[Any]:
        if self.group.workers == 1:
            return [value]
        found = [None] * self.group.workers
        torch.distributed.all_gather_object(found, value)
        return found


def _is_manifest(value: Any, folder: str) -> bool:
    """Return whether a checkpoint's manifest is one, of this folder, whose files are the same work's."""
    if not isinstance(value, dict) or not isinstance(value.get("made"), dict):
        return False
    files = value.get("files")
    if not isinstance(files, dict) or not isinstance(value.get("facts"), dict):
        return False
    return str(value.get("step")) == folder.rpartition("/")[2] and all(
        isinstance(listed, dict)
        and isinstance(listed.get("place"), str)
        and path_problem(listed["place"]) is None
        and listed["place"].startswith(folder.rpartition("/")[0] + "/")
        and {"bytes", "blake2b"} <= listed.keys()
        for listed in files.values()
    )


def _differences(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """`zero_stage 2 (now 0)`, and so on."""
    names = sorted(name for name in made.keys() | wanted.keys() if made.get(name) != wanted.get(name))
    return ", ".join(f"{name} {made.get(name)} (now {wanted.get(name)})" for name in names)
