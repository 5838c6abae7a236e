"""A Ray of this machine, started by this process: in a private folder, and ended with this process.

Ray makes its session folders writable for everybody, so they go into a folder that only this user can enter.
Sockets are among them, and the kernel takes paths of 107 bytes: the folder is made in RAY_TMPDIR, else in TMPDIR,
else in /tmp, and a path that is too long is refused. When this process has ended, a guardian process removes the
folder, and ends what Ray leaves behind. Where RAY_TMPDIR is set, Ray's own files stay there.
"""

from __future__ import annotations

import logging
import os
import resource
import secrets
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from flare_ray.errors import InputError, Problem, Unreachable
from flare_ray.execution.loopback import only_here
from flare_ray.guardian import Guardian
from flare_ray.umask import set_umask

SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
"""Longest path of a Unix socket."""
START_SECONDS = 180.0
"""Seconds in which Ray starts even on a machine that is very busy."""
_SOCKET = "/fr-a1b2c3/r/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
_RAYS_OWN = 8
"""Bytes that this is longer than what Ray takes by itself: a TMPDIR that Ray takes is not refused."""
_ADDRESS_SPACE = 8 * 2**30
"""Bytes of addresses that Ray's processes take beside the object store, each one."""
log = logging.getLogger(__name__)
_current: Guardian | None = None
_folder: Path | None = None


def start_ray(**options: Any) -> None:
    """Start a Ray that ends with this process. options: of `ray.init`.

    Raises InputError for what keeps Ray from starting on this machine, Unreachable where it may start later.
    """
    import ray

    only_here()
    if problems := local_problems():
        raise InputError("Ray", problems)
    # One machine is not preempted, and its reports need not wait for a cluster's polling interval.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    set_umask()
    folder, scratch = _make_folders()
    with _environment(scratch), _patience(), _groups_of_their_own(), own_signal_handlers():
        try:
            ray.init(address="local", include_dashboard=False, _temp_dir=str(folder / "r"), **options)
        except Exception as error:  # Ray raises plain Exceptions for what keeps it from starting
            with suppress(Exception):
                ray.shutdown()
            raise Unreachable("Ray", [_not_started(f"{type(error).__name__}: {error}")]) from error


def local_problems() -> list[Problem]:
    """Return what keeps a Ray from starting on this machine."""
    try:
        _root()
    except InputError as error:
        problems = list(error.problems)
    else:
        problems = []
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    needed = _ADDRESS_SPACE + int(psutil.virtual_memory().total * 0.3)
    if limit != resource.RLIM_INFINITY and limit < needed:
        got = f"{limit / 2**30:.1f} GiB of addresses for each process"
        expected = f"`ulimit -v unlimited`, or {needed / 2**30:.0f} GiB: Ray maps more than it uses"
        problems.append(
            Problem("ulimit -v", got, f"{expected}; limit memory by a cgroup or the batch system")
        )
    return problems


def guardian_pid() -> int | None:
    """Return the process that looks after the Ray started here."""
    return _current.pid if _current else None


def keep_ray_files() -> Path | None:
    """Leave Ray's files in place when this process ends, since Ray has failed; return their folder."""
    if _current:
        _current.keep()
    return _folder


def _make_folders() -> tuple[Path, Path]:
    """Make the private folder and the one for temporary files of Ray's processes, looked after by a guardian."""
    global _current, _folder
    if _current:
        _current.close()
    root, temporary = _root(), Path(tempfile.gettempdir()).absolute()
    folder = _private_folder(root)
    scratch = folder / "t"
    if temporary != root:
        scratch = _private_folder(temporary)  # it may be on a larger disk
    scratch.mkdir(exist_ok=True)
    permanent = [folder] if os.environ.get("RAY_TMPDIR") else []
    _current = Guardian(folders=[scratch] if permanent else list({folder, scratch}), kept=permanent)
    _folder = folder / "r"
    return folder, scratch


def _private_folder(root: Path) -> Path:
    while True:
        folder = root / f"fr-{secrets.token_hex(3)}"
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            return folder


def _root() -> Path:
    """Return where the private folder is made. Raises InputError."""
    longest = SOCKET_BYTES - len(_SOCKET)
    remedy = f"RAY_TMPDIR: a short folder that can be written, as /tmp (up to {longest} bytes)"
    chosen, temporary = os.environ.get("RAY_TMPDIR"), os.environ.get("TMPDIR")
    if chosen:
        root = Path(chosen).absolute()
        if (over := _bytes(root) - longest) > 0:
            got = f"{chosen!r}, too long by {over} bytes for Unix sockets in it"
            raise InputError("Ray", [Problem("RAY_TMPDIR", got, remedy)])
        with suppress(OSError):
            root.mkdir(parents=True, exist_ok=True)
        if not _can_be_written(root):
            got = f"{chosen!r}, which cannot be written"
            raise InputError("Ray", [Problem("RAY_TMPDIR", got, remedy)])
        return root
    root = Path("/tmp")
    if temporary and sys.platform.startswith("linux"):  # elsewhere Ray does not heed it
        own = Path(temporary).absolute()
        if _bytes(own) <= longest and _can_be_written(own):
            root = own
        elif _bytes(own) > longest + _RAYS_OWN:
            got = f"{temporary!r}, too long for Unix sockets in it"
            raise InputError("Ray", [Problem("TMPDIR", got, remedy)])
    if not _can_be_written(root):
        raise InputError("Ray", [Problem(str(root), "a folder that cannot be written", remedy)])
    return root


def _bytes(path: Path) -> int:
    return len(os.fsencode(path))


def _can_be_written(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _not_started(got: str) -> Problem:
    expected = (
        "a Ray that starts: the same command may do so later; look at free memory, disk space and `ulimit -a`"
    )
    return Problem("Ray", " ".join(got.split())[:400], expected, passes=True)


@contextmanager
def _environment(scratch: Path) -> Iterator[None]:
    """Give Ray's processes a TMPDIR that is removed with them."""
    tempfile.gettempdir()  # this process keeps its own
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(scratch)
    try:
        yield
    finally:
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)


@contextmanager
def _groups_of_their_own() -> Iterator[None]:
    """Let Ray's processes start in process groups of their own, with SIGHUP ignored.

    A signal to the driver's whole group, as `timeout` and batch systems send it, or the hangup of a session would end
    Ray before the work is at a checkpoint. Ray has no option for it.
    """
    from ray._private import services

    popen: Any = getattr(services, "ConsolePopen", None)
    if popen is None:
        yield
        return
    before = popen.__init__

    def start(process: Any, *words: Any, **options: Any) -> None:
        with _hangup_ignored():
            before(process, *words, **{**options, "process_group": 0})

    popen.__init__ = start
    try:
        yield
    finally:
        popen.__init__ = before


@contextmanager
def _hangup_ignored() -> Iterator[None]:
    """Ignore SIGHUP while a process starts, which inherits that; this one heeds it again right after."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, handler if handler is not None else signal.SIG_DFL)


@contextmanager
def _patience() -> Iterator[None]:
    """End this process where Ray neither starts nor fails: it waits in a call that nothing interrupts."""

    def give_up() -> None:
        error = Unreachable("Ray", [_not_started(f"no Ray within {START_SECONDS:.0f} s")])
        with suppress(OSError, ValueError, AttributeError):
            print(error, file=sys.stderr, flush=True)
        os._exit(error.exit_code)

    timer = threading.Timer(START_SECONDS, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def own_signal_handlers() -> Iterator[None]:
    """Keep this process's handlers, where Ray sets its own.

    Raises KeyboardInterrupt where Ray's own handler was faster and ended the process with the signal's number.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
