"""This machine: Python, the packages and whether they go together, the cache's disk, settings that matter."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from flare_ray.cache import cache_folder
from flare_ray.cache_entries import entries
from flare_ray.errors import InputError
from flare_ray.preflight.findings import Finding, bad, warning
from flare_ray.store.disk import FULL

_FREE, _LEAST = 5.0, 0.5
"""GiB that the sandbox, hashes and copies of a small study take, and what any sweep takes."""
STACK = ("ray", "torch", "transformers", "peft", "bitsandbytes", "datasets", "deepspeed", "mlflow", "optuna")
"""Packages whose own requirements are looked at: pairs of these that do not go together show late and darkly."""


def here() -> list[Finding]:
    """All findings, in a second."""
    return [_python(), *packages(), *pairs(), *needed_here(), *_cache_size(), _terminal(), _authentication()]


def _python() -> Finding:
    found = sys.version.split()[0]
    if (3, 11) <= sys.version_info[:2] < (3, 13):
        return Finding("python", found)
    return bad("python", found, "use Python 3.11 or 3.12")


def packages() -> list[Finding]:
    """Every requirement of this package against what is installed."""
    if not installed("flare-ray"):
        return [Finding("flare-ray", "runs from a folder, not installed")]
    found = []
    for requirement in _required_by("flare-ray"):
        have = installed(requirement.name)
        if have is None:
            found.append(bad(requirement.name, "absent", f"pip install '{requirement}'"))
        elif not requirement.specifier.contains(have, prereleases=True):
            found.append(bad(requirement.name, have, f"pip install '{requirement}'"))
        else:
            found.append(Finding(requirement.name, have))
    return found


def pairs() -> list[Finding]:
    """Packages of the stack that do not go together, by what they say themselves."""
    found = []
    for name in STACK:
        if not (own := installed(name)):
            continue
        for requirement in _required_by(name):
            have = installed(requirement.name)
            if have is None or not requirement.specifier.contains(have, prereleases=True):
                what = f"{name} with {requirement.name}"
                said = f"{name} {own} wants {requirement}, found {have or 'nothing'}"
                found.append(warning(what, said, f"pip install '{requirement}'"))
    return found


def installed(name: str) -> str | None:
    """A package's version, None where it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _required_by(name: str) -> list[Requirement]:
    """What a package wants, without extras, on this machine."""
    wanted = []
    for text in requires(name) or []:
        if "extra ==" in text:
            continue
        requirement = Requirement(text)
        if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
            wanted.append(requirement)
    return wanted


def needed_here() -> list[Finding]:
    """Return whether this machine has the folders that Ray and the cache write into, before either does."""
    return [*_cache(), *_token()]


def _token() -> list[Finding]:
    """Return whether the token of a local Ray can be made, where there is none."""
    given = ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    if _mode() != "token" or any(os.environ.get(name) for name in given):
        return []
    home = Path(os.path.expanduser("~"))
    token = home / ".ray" / "auth_token"
    remedy = "HOME: a folder that can be written, or RAY_AUTH_TOKEN_PATH: a file with a token"
    if not home.is_absolute():
        return [bad("ray's token", f"no home folder of uid {os.getuid()}", remedy)]
    folder = existing(token)
    if os.path.exists(token) or _write_error(folder) is None:
        return []
    return [bad("ray's token", f"{token} cannot be made at {folder}, for uid {os.geteuid()}", remedy)]


def _cache() -> list[Finding]:
    """Return whether the cache can be written, and what its disk has left."""
    remedy = "set FLARE_RAY_CACHE to a folder that can be written"
    try:
        cache = cache_folder()
    except InputError as error:
        return [bad("cache", problem.found, problem.wanted) for problem in error.problems]
    folder = existing(cache)
    if refusal := _write_error(folder):
        what = f"{cache} cannot be written: {refusal.strerror or refusal} at {folder}, for uid {os.geteuid()}"
        return [bad("cache", what, remedy, passes=refusal.errno in FULL)]
    free = shutil.disk_usage(folder).free / 2**30
    found = f"{free:.{0 if free > 10 else 1}f} GiB free at {folder}"
    writable, name = Finding("cache", f"{cache} can be written"), "disk for the cache"
    if free > _FREE:
        return [writable, Finding(name, found)]
    remedy = "free some space, or set FLARE_RAY_CACHE to a larger disk"
    if free > _LEAST:
        return [writable, warning(name, found, remedy)]
    return [writable, bad(name, found, remedy, passes=True)]


def _cache_size() -> list[Finding]:
    """Return what the cache holds; nothing where it cannot be read or is reported as faulty already."""
    try:
        held = sum(entry.bytes for entry in entries(cache_folder()))
    except (InputError, OSError):
        return []
    size = f"{held / 1e9:.1f} GB in {cache_folder()} (flare-ray cache ls shows what, cache clean removes it)"
    return [Finding("size of the cache", size)]


def _write_error(folder: Path) -> OSError | None:
    """Return why no file can be made in a folder; None where one can. It leaves nothing there."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error


def existing(folder: Path) -> Path:
    """A folder, or the nearest one above it that is there and can be looked at."""
    folder = folder.absolute()
    while not os.path.exists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def _terminal() -> Finding:
    """Return whether standard output takes every letter; what it has not is printed as a question mark."""
    encoding = getattr(sys.stdout, "encoding", None) or "unknown"
    if encoding.lower().replace("-", "") in ("utf8", "utf8sig"):
        return Finding("letters of the terminal", encoding)
    remedy = "PYTHONIOENCODING=utf-8 or LC_ALL=C.UTF-8: letters that it has not are printed as ?"
    return warning("letters of the terminal", encoding, remedy)


def _authentication() -> Finding:
    """Ray 2.60 has it on unless it is told otherwise."""
    mode = _mode()
    if mode in ("token", "k8s"):
        return Finding("ray's authentication", mode)
    remedy = "RAY_AUTH_MODE=token, or nothing: whoever reaches Ray's ports runs what they like"
    return warning("ray's authentication", mode, remedy)


def _mode() -> str:
    return os.environ.get("RAY_AUTH_MODE", "token").lower()
