"""What of a folder goes to the cluster with a job: code and sweep files, never data, caches, results or weights.

Ray packs the folder, leaves out what `.gitignore` and `.rayignore` name, and what is named here. The package goes
through the head's memory to every node: it has to be small, and Ray refuses it beyond a limit.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flare_ray.errors import InputError, Problem

EXCLUDES = (
    ".git",
    ".venv",
    "venv",
    "__pycache__",
    ".*_cache",
    "*.egg-info",
    "/build",
    "/dist",
    "/data",
    "/results*",
    "/mlruns",
    "node_modules",
    "wandb",
    *(f"*.{kind}" for kind in ("safetensors", "bin", "pt", "ckpt", "gguf", "parquet", "arrow", "db", "log")),
)
"""As in .gitignore."""
_SHOWN = 5
_MIB = 2**20


@dataclass(frozen=True)
class Packed:
    """The files that go along: path in the folder, and bytes."""

    files: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        """Bytes of all of them; Ray packs without compression."""
        return sum(size for _, size in self.files)

    @property
    def largest(self) -> list[tuple[str, int]]:
        """Some of them, for the eye."""
        return sorted(self.files, key=lambda file: -file[1])[:_SHOWN]


def packed(folder: Path, excludes: Sequence[str] = EXCLUDES) -> Packed:
    """What Ray would pack of a folder: by its own walk, which also reads the ignore files in it."""
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    root, files = folder.absolute(), list[tuple[str, int]]()

    def found(path: Path) -> None:
        if path.is_file():
            files.append((path.relative_to(root).as_posix(), path.stat().st_size))

    left_out = [*get_runtime_env_default_excludes(), *excludes]
    quiet = logging.getLogger(f"{__name__}.ray")
    quiet.setLevel(logging.ERROR)
    _dir_travel(root, [_get_excludes(root, left_out)], found, include_gitignore=True, logger=quiet)
    return Packed(tuple(files))


def check(folder: Path, wanted: str, most: int | None = None) -> Packed:
    """What goes along. Raises InputError when it is too large, or `wanted` (a path in the folder) is not in it.

    most: bytes; Ray's limit if left out.
    """
    from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE

    most = most or GCS_STORAGE_MAX_SIZE
    found = packed(folder)
    problems = []
    if wanted not in {path for path, _ in found.files}:
        remedy = "a sweep file in --working-dir that neither .gitignore nor .rayignore names"
        problems.append(Problem("FILE", f"{wanted}, which does not go to the cluster with {folder}", remedy))
    if found.size >= most:
        large = ", ".join(f"{path} ({size / _MIB:.1f} MiB)" for path, size in found.largest)
        size = f"{found.size / _MIB:.0f} MiB in {len(found.files)} files; the largest: {large}"
        remedy = (
            f"less than {most / _MIB:.0f} MiB, Ray's limit: data and models belong into storage all nodes see"
        )
        problems.append(Problem("--working-dir", size, f"{remedy}, other files into .rayignore"))
    if problems:
        raise InputError("submit", problems)
    return found
