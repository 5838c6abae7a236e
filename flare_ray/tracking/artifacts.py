"""A run's artifacts as files: which there are, put into a folder, and which of them a folder lacks."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from flare_ray.tracking.views import View

Files = Sequence[tuple[Path, str]]
"""Files and their names as artifacts, with slashes."""


def files_of(view: View, folder: Path) -> list[tuple[Path, str]]:
    """Return a view's files and their names as artifacts. Raises FileNotFoundError."""
    files = [(folder / name, name) for name in view.extras if (folder / name).is_file()]
    for name in view.files:
        inside = sorted(path for path in (folder / name).rglob("*") if path.is_file())
        for path in inside if name.endswith("/") else [folder / name]:
            if not path.is_file():
                raise FileNotFoundError(f"{path} is not there")
            files.append((path, path.relative_to(folder).as_posix()))
    return files


def sizes_of(view: View, files: Files) -> dict[str, int]:
    """Return the size of each artifact in bytes."""
    sizes = {name: path.stat().st_size for path, name in files}
    return sizes | {name: len(text.encode()) for name, text in view.texts.items()}


def missing_in(folder: Path, sizes: Mapping[str, int]) -> list[str]:
    """Return the artifacts that a folder has not, or in another size."""
    return [name for name, size in sizes.items() if _size(folder / name) != size]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size if file.is_file() else -1
    except OSError:
        return -1


def link_all(files: Files, view: View, target: Path) -> None:
    """Put a run's artifacts into a folder."""
    for path, name in files:
        _link(path, target / name)
    for name, text in view.texts.items():
        _replace(target / name, partial(_write_text, text))


def _write_text(text: str, file: Path) -> None:
    file.write_text(text, encoding="utf-8")


def _link(file: Path, target: Path) -> None:
    """Put the same file under a second name, where the file system can; records are never written again."""

    def put(new: Path) -> None:
        try:
            os.link(file, new)
        except OSError:
            shutil.copyfile(file, new)

    if not (target.is_file() and target.samefile(file)):
        _replace(target, put)


def _replace(target: Path, write: Callable[[Path], None]) -> None:
    """Put a new file in the place of what is there. The old one may be a record's own: it is never written into."""
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{uuid.uuid4().hex}.new")
    try:
        write(new)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        os.replace(new, target)
    finally:
        new.unlink(missing_ok=True)
