"""This machine: Python, the packages and whether they go together, the cache's disk, settings that matter."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from flare_ray.cache import cache_folder
from flare_ray.preflight.findings import Finding, bad, warning

_FREE, _LEAST = 5.0, 0.5
"""GiB that the sandbox, hashes and copies of a small study take, and what any sweep takes."""
STACK = ("ray", "torch", "transformers", "peft", "bitsandbytes", "datasets", "deepspeed", "mlflow", "optuna")
"""Packages whose own requirements are looked at: pairs of these that do not go together show late and darkly."""


def here() -> list[Finding]:
    """All findings, in a second."""
    return [_python(), *packages(), *pairs(), _cache(), _authentication()]


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


def _cache() -> Finding:
    folder = existing(cache_folder())
    free = shutil.disk_usage(folder).free / 2**30
    found = f"{free:.{0 if free > 10 else 1}f} GiB free at {folder}"
    if free > _FREE:
        return Finding("disk for the cache", found)
    make = warning if free > _LEAST else bad
    return make("disk for the cache", found, "free some space, or set FLARE_RAY_CACHE to a larger disk")


def existing(folder: Path) -> Path:
    """A folder, or the nearest one above it that is there."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder


def _authentication() -> Finding:
    """Ray 2.60 has it on unless it is told otherwise."""
    mode = os.environ.get("RAY_AUTH_MODE", "token").lower()
    if mode in ("token", "k8s"):
        return Finding("ray's authentication", mode)
    remedy = "RAY_AUTH_MODE=token, or nothing: whoever reaches Ray's ports runs what they like"
    return warning("ray's authentication", mode, remedy)
