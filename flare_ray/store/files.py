"""Files under one root, in a folder or behind any fsspec driver; each is written all of it or nothing.

    files = Files("s3://bucket/study")
    files.write("reports/small/report.md", b"…")
    files.create("leases/small/7.json", b"…")  # False: somebody was faster

On a file system a name is given last, to what is complete and on the disk (`rename`, `link`); an object store puts
each object in one piece. Places are relative to the root, with slashes. Where there is a driver, everything may raise
StoreAway and StoreRefused (reach.py).
"""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import fsspec

from flare_ray.errors import InputError, Problem
from flare_ray.redaction import has_password
from flare_ray.store.clock import modified_of, time_of_full
from flare_ray.store.disk import (
    FULL,
    Info,
    check_removable,
    copy,
    free_bytes,
    open_new,
    open_regular,
    read_regular,
    take_away,
    walk,
    write_new,
)
from flare_ray.store.guard import Guard
from flare_ray.store.manifest import RECORD, Damaged, checksum_of
from flare_ray.store.patience import http_status
from flare_ray.store.reach import StoreRefused, asked

SCRATCH = ".unfinished"
"""The folder of what is being written, and the ending of such files in stores of an earlier version."""
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_EXISTS = 412  # HTTP: precondition failed


class StoreFull(OSError):
    """There is no space left for what was to be written; nothing of it can be seen."""


class Files:
    """One root. `local`: whether it is a folder that this machine sees as one. Raises InputError.

    guard: what every change asks first whether the storage is still there (identity.py); it raises OtherStore.
    """

    def __init__(self, url: str):
        if has_password(url):  # it would go to every worker, and into Ray's own files
            wanted = (
                "a URL without; the driver takes credentials from the environment or from files of its own"
            )
            raise InputError("storage", [Problem("storage", f"{url!r}, with a password", wanted)])
        # others write into the same store: what was listed a moment ago is not what is there
        try:
            self.fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except Exception as error:  # each of some fifty drivers has its own for a URL that it cannot use
            wanted = "a folder, or an fsspec URL whose driver is installed"
            raise InputError("storage", [Problem("storage", f"{url!r}: {error}", wanted)]) from error
        self.root = str(root).rstrip("/")
        protocols = self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,)
        self.local = "file" in protocols
        self.url = self.root if self.local else url  # absolute: processes have working folders of their own
        self.guard: Guard | None = None

    def check(self, afresh: bool = False) -> None:
        """Raise OtherStore when what is at the root is not the store that is known; nothing where none is."""
        if self.guard:
            self.guard.check(afresh)

    def path(self, place: str) -> str:
        """The driver's own path of a place. Raises Damaged for one that data named to get out of the root."""
        if place.startswith("/") or "\0" in place or (".." in place and ".." in place.split("/")):
            raise Damaged(f"a path that leaves the store: {place[:100]!r}")
        return f"{self.root}/{place}"

    def for_people(self, place: str) -> str:
        """A path, or a URL on an object store."""
        return self.fs.unstrip_protocol(self.path(place)).removeprefix("file://")

    def exists(self, place: str) -> bool:
        """Whether a file or folder is there."""
        if self.local:
            return os.path.exists(self.path(place))
        return bool(asked(lambda: self.fs.exists(self.path(place))))

    def read(self, place: str) -> bytes:
        """A file. Raises FileNotFoundError, and Damaged for what is not a file."""
        if self.local:
            return read_regular(self.path(place))
        return asked(lambda: self.fs.cat_file(self.path(place)))

    def open(self, place: str) -> BinaryIO:
        """A file, to be read in pieces. Raises FileNotFoundError, and Damaged for what is not a file."""
        if self.local:
            return open_regular(self.path(place))
        return asked(lambda: self.fs.open(self.path(place), "rb"))

    def fetch(self, place: str, target: Path) -> None:
        """Copies a file to this machine."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.local:
            with open_regular(self.path(place)) as stream, target.open("wb") as copied:
                shutil.copyfileobj(stream, copied)
            return
        asked(lambda: self.fs.get_file(self.path(place), str(target)))

    def write(self, place: str, content: bytes) -> None:
        """A file, all of it or nothing, in the place of any other. Raises StoreFull."""
        with self.space_for(place):
            if not self.local:
                self.check()
                asked(lambda: self.fs.pipe_file(self.path(place), content))
                return
            with self.scratch() as scratch:
                write_new(scratch, content)
                self._into_folder(place, lambda: scratch.replace(self.path(place)))

    def create(self, place: str, content: bytes) -> bool:
        """A file, unless there is one: True for exactly one of many at once, where the storage can tell.

        A folder, NFS, S3, GCS and Azure can; a driver without conditional writes looks first and then writes.
        """
        with self.space_for(place):
            return self._link(place, content) if self.local else self._put_new(place, content)

    def put(self, file: Path, place: str) -> tuple[int, str]:
        """Copies a local file to a place that no one else writes, in a folder that is there; bytes and checksum."""
        self.check()
        if self.local:
            return copy(file, Path(self.path(place)))
        made = file.stat().st_size, checksum_of(file)
        asked(lambda: self.fs.put_file(str(file), self.path(place)))
        return made

    def remove(self, place: str) -> None:
        """Removes a file, if it is there. Raises OSError for one behind a link."""
        self.check()
        try:
            if self.local:
                check_removable(self.root, place)
                os.remove(self.path(place))
            else:
                asked(lambda: self.fs.rm_file(self.path(place)))
        except FileNotFoundError:
            return

    def remove_folder(self, place: str, unless: str | None = None) -> bool:
        """Removes a folder, if it is there: on a file system its name is gone at once. Returns whether it did.

        unless: a file by which a folder is to stay. Raises OSError for a folder behind a link, and for one with a
        mount inside.
        """
        self.check()
        self.path(place)  # raises Damaged for a place that leaves the root
        if not self.local:
            names = self.find(place)
            if unless in names:
                return False
            for name in _record_first(names):
                self.remove(f"{place}/{name}")
            return bool(names)
        try:
            check_removable(self.root, place)
        except FileNotFoundError:
            return False
        return self._remove_folder(place, unless)

    def _remove_folder(self, place: str, unless: str | None) -> bool:
        """Takes the folder out of the way first: what was written into it until then is seen, and put back."""
        with self.scratch() as scratch:
            return take_away(self.path(place), scratch, unless)

    def move_folder(self, place: str, target: str) -> None:
        """Gives a folder another place, which is free."""
        self.check()
        if self.local:
            check_removable(self.root, place)
            os.makedirs(os.path.dirname(self.path(target)), exist_ok=True)
            os.rename(self.path(place), self.path(target))
            return
        names = sorted(
            self.find(place), key=lambda name: "/" in name
        )  # record.json first: it is not a record then
        for name in names:
            self._move_object(f"{place}/{name}", f"{target}/{name}")

    def move(self, place: str, target: str) -> None:
        """Gives a file another place."""
        self.check()
        if self.local:
            check_removable(self.root, place)
            os.makedirs(os.path.dirname(self.path(target)), exist_ok=True)
            os.replace(self.path(place), self.path(target))
            return
        self._move_object(place, target)

    def names(self, folder: str) -> list[str]:
        """Sorted names of whole files and folders in a folder; none where there is not a folder."""
        try:
            if self.local:
                names = os.listdir(self.path(folder))
            else:
                found = asked(lambda: self.fs.ls(self.path(folder), detail=False))
                names = [place.rstrip("/").rsplit("/", 1)[-1] for place in found]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in names if not name.endswith(SCRATCH))

    def find(self, folder: str = "") -> dict[str, Info]:
        """Every file below a folder by its place in it: one listing on an object store."""
        top = self.path(folder).rstrip("/")
        if self.local:
            return dict(walk(top))
        found = asked(lambda: self.fs.find(top, detail=True))
        return {
            path.removeprefix(top).lstrip("/"): Info(int(info.get("size") or 0), modified_of(info))
            for path, info in found.items()
            if info.get("type") != "directory"
        }

    def now(self) -> float:
        """The time by the storage's own clock, which the times of its files go by, whatever this machine's says.

        A storage that cannot be written is asked less: a full folder for the time of a change to itself, one to be
        read only not at all, and this machine's clock is taken.
        """
        try:
            return self._clock()
        except OSError as error:
            if self.local and error.errno in FULL:
                return time_of_full(self.root)
            if error.errno in _READ_ONLY or isinstance(error, StoreRefused):
                return time.time()
            raise

    def _clock(self) -> float:
        """Return the time of a file that is written for it."""
        with self.scratch() as scratch:
            path = f"{SCRATCH}/{scratch.name}"
            if self.local:
                write_new(scratch, b"")
            else:
                self.write(path, b"")
            return self.modified(path) or time.time()

    def modified(self, place: str) -> float | None:
        """When a file was written, by the storage's clock; None if it does not say. Raises FileNotFoundError."""
        if self.local:
            # an open file's times are fresh on NFS, a name's may not be
            with open_regular(self.path(place)) as stream:
                return os.fstat(stream.fileno()).st_mtime
        return modified_of(asked(lambda: self.fs.info(self.path(place))))

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A name of one's own for what is not whole yet; whatever has it afterwards is removed."""
        self.check()
        token = uuid.uuid4().hex
        if not self.local:
            try:
                yield Path(token)
            finally:
                self.remove(f"{SCRATCH}/{token}")
            return
        path = Path(self.path(SCRATCH)) / token
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield path
        finally:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    @contextmanager
    def space_for(self, place: str) -> Iterator[None]:
        """Says where and how much space was left when there was not enough. Raises StoreFull."""
        try:
            yield
        except OSError as error:
            if error.errno not in FULL or isinstance(error, StoreFull):
                if error.errno and error.filename is None:  # as of a write: the place would not be named
                    error.filename = self.for_people(place)
                raise
            free = f"; {free_bytes(self.root):,} bytes are free there" if self.local else ""
            why = os.strerror(error.errno)
            raise StoreFull(error.errno, f"{why}: could not write {self.for_people(place)}{free}") from error

    def _into_folder(self, place: str, work: Callable[[], Any]) -> None:
        """Does what puts a file into its folder, and makes the folder only when it is not there."""
        try:
            work()
        except FileNotFoundError:
            self.check()
            os.makedirs(os.path.dirname(self.path(place)), exist_ok=True)
            work()

    def _link(self, place: str, content: bytes) -> bool:
        target = self.path(place)
        with self.scratch() as scratch:
            write_new(scratch, content)
            try:
                self._into_folder(place, lambda: os.link(scratch, target))
            except FileExistsError:
                return (
                    scratch.stat().st_nlink == 2
                )  # NFS: linked, but the answer was lost and the call repeated
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                os.makedirs(os.path.dirname(target), exist_ok=True)
                return open_new(target, content)
        return True

    def _put_new(self, place: str, content: bytes) -> bool:
        self.check()
        try:
            asked(lambda: self.fs.pipe_file(self.path(place), content, mode="create"))
        except Exception as error:
            if not isinstance(error, FileExistsError) and http_status(error) != _EXISTS:
                raise
            return self.read(place) == content  # an earlier attempt whose answer was lost
        return True

    def _move_object(self, place: str, target: str) -> None:
        asked(lambda: self.fs.cp_file(self.path(place), self.path(target)))
        self.remove(place)


def _record_first(names: Iterable[str]) -> list[str]:
    """On an object store things go one by one: without its record the rest is no work any more."""
    return sorted(names, key=lambda name: (name != RECORD, name))
