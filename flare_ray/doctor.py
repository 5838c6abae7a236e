"""Looks at the machine and at what a sweep names, before anything expensive starts; each finding has its remedy."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from flare_ray.cache import cache_folder
from flare_ray.errors import InputError
from flare_ray.redaction import redacted
from flare_ray.study import Study


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    what: str
    found: str
    good: bool
    remedy: str = ""


def findings(file: Path | None = None) -> list[Finding]:
    """All findings; those of a sweep's own input when a file is given."""
    found = [_python(), *_packages(), _disk(), _ray()]
    if file is not None:
        found += _sweep(file)
    return found


def _python() -> Finding:
    good = (3, 11) <= sys.version_info[:2] < (3, 13)
    return Finding("python", sys.version.split()[0], good, "" if good else "use Python 3.11 or 3.12")


def _packages() -> list[Finding]:
    """Every requirement of this package against what is installed."""
    found = []
    for text in requires("flare-ray") or []:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            have = version(requirement.name)
        except PackageNotFoundError:
            found.append(Finding(requirement.name, "absent", False, f"pip install '{requirement}'"))
            continue
        good = requirement.specifier.contains(have, prereleases=True)
        found.append(Finding(requirement.name, have, good, "" if good else f"pip install '{requirement}'"))
    return found


def _disk() -> Finding:
    folder = cache_folder()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    remedy = "" if free > 5 else "free some space, or set FLARE_RAY_CACHE to a larger disk"
    return Finding("disk for the cache", f"{free:.0f} GiB free at {folder}", not remedy, remedy)


def _ray() -> Finding:
    address = os.environ.get("RAY_ADDRESS")
    return Finding("ray", f"the cluster at {address}" if address else "a local one will be started", True)


def _sweep(file: Path) -> list[Finding]:
    try:
        study = Study.open(file)
    except InputError as error:
        return [Finding(p.where, p.found, False, f"wanted {p.wanted}") for p in error.problems]
    return [
        Finding("sweep", f"{file}: {len(study.grid.runs)} runs", True),
        Finding("storage", study.store.url, True),
        Finding("tracking", redacted(study.tracking_uri), True),
    ]
