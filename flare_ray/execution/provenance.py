"""Where a result comes from: versions of the packages it depends on, the code's commit, the machine's kind."""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from flare_ray.errors import InputError
from flare_ray.redaction import redacted
from flare_ray.store import Damaged, Store

DIFF_BYTES = 200_000
log = logging.getLogger(__name__)
CHECKOUT = "FLARE_RAY_CHECKOUT"
"""What a submitter says of its checkout to a job, which has the files and no git: see `checkout`."""
PACKAGES = (
    "flare-ray",
    "torch",
    "transformers",
    "peft",
    "deepspeed",
    "ray",
    "mlflow",
    "datasets",
    "bitsandbytes",
    "accelerate",
    "numpy",
)


def provenance() -> dict[str, Any]:
    """Package versions, Python, operating system, a hash of this package's code, its git commit and whether the
    checkout was changed."""
    return {
        "versions": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "code": code(),
        **_git_or_told(),
    }


@cache
def code() -> str:
    """A hash of this package's source files."""
    root, whole = Path(__file__).parents[1], blake2b(digest_size=8)
    for file in sorted(root.rglob("*.py")):
        whole.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return whole.hexdigest()


def checkout() -> str:
    """The commit that this process's code comes from, for a job that runs the same code: value of `CHECKOUT`."""
    return json.dumps({"code": code(), **_git(Path(__file__).parents[1])})


def _git_or_told() -> dict[str, Any]:
    found = _git(Path(__file__).parents[1])
    told = json.loads(os.environ.get(CHECKOUT, "{}"))
    if found["git_commit"] is None and told.get("code") == code():
        return {name: told.get(name) for name in found}
    return found


def keep_diff(store: Store) -> dict[str, Any]:
    """Keeps what differs from the commit, in a changed checkout, in the store: once, by its hash. Credentials in URIs
    are taken out, and what is longer than `DIFF_BYTES` is cut. Returns `git_diff`: place, hash, bytes, whether cut.
    """
    try:
        text = _ask_git(Path(__file__).parents[1], "diff", "HEAD", "--no-color", "--no-ext-diff")
    except (OSError, subprocess.SubprocessError):
        return {}
    if not text or not _git(Path(__file__).parents[1])["git_changed"]:
        return {}
    whole = redacted(text).encode()
    kept = whole[:DIFF_BYTES].decode(errors="ignore").encode()
    name = blake2b(whole, digest_size=10).hexdigest()
    place = f"diffs/{name}.patch"
    try:
        if not store.files.exists(place):
            store.write_bytes(place, kept)
    except (OSError, InputError) as error:
        log.warning(
            "the changes of the checkout are not kept: %s: %s", type(error).__name__, redacted(str(error))
        )
        return {}
    return {"git_diff": {"place": place, "blake2b": name, "bytes": len(whole), "cut": len(kept) < len(whole)}}


def kept_diff(store: Store, record: Mapping[str, Any]) -> str | None:
    """Return the changes that a record was made with, None where it has none or they are not what was kept.

    A record is data: it names its changes by their hash, and not a place to read from.
    """
    entry = record.get("provenance", {}).get("git_diff")
    name = entry.get("blake2b") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not re.fullmatch("[0-9a-f]{20}", name):
        return None
    try:
        content = store.read_bytes(f"diffs/{name}.patch")
    except (FileNotFoundError, Damaged):
        return None
    is_sound = entry.get("cut") or blake2b(content, digest_size=10).hexdigest() == name
    return content.decode(errors="replace") if is_sound else None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _git(folder: Path) -> dict[str, Any]:
    """The commit of the checkout this code runs from; None for an installed package or without git."""
    try:
        commit = _ask_git(folder, "rev-parse", "HEAD")
        changed = bool(_ask_git(folder, "status", "--porcelain", "--untracked-files=no", "--", "."))
        _ask_git(
            folder, "ls-files", "--error-unmatch", str(Path(__file__))
        )  # ours, not a repository around us
    except (OSError, subprocess.SubprocessError):
        return {"git_commit": None, "git_changed": None}
    return {"git_commit": commit, "git_changed": changed}


def _ask_git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=10,
        check=True,
    )
    return done.stdout.strip()
