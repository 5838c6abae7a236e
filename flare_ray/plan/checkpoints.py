"""Checkpoints: the names the package knows, where one lies, and what identifies it.

A checkpoint is a hub id (`org/name`, optionally `org/name@revision`), a local folder, or `sandbox:<model>`.
Its identity is never its path: a local folder is known by the hash of its files, so a copy elsewhere is the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from flare_ray import registry
from flare_ray.cache import cache_folder
from flare_ray.errors import InputError
from flare_ray.plan.read_file import Unreadable, check_readable, decode, read_bytes
from flare_ray.sandbox import world

SANDBOX = "sandbox:"
_DIGESTS = "digests"
CONFIG = "config.json"
_CONTENT = (".safetensors", ".bin", ".json", ".txt", ".model")
_MOST_OF_A_CONFIG = 4 << 20
_A_CONFIG = "the config.json of a Hugging Face checkpoint, a JSON object"

TRANSLATORS = {
    "nllb-200-3.3b": "facebook/nllb-200-3.3B",
    "nllb-200-1.3b": "facebook/nllb-200-1.3B",
    "nllb-200-distilled-600m": "facebook/nllb-200-distilled-600M",
    **{name: SANDBOX + name for name in world.TRANSLATORS},
}
"""Name -> checkpoint. The paper translates with 3.3B and takes FLARE MT's states from the distilled 600M."""


def translator(name: str) -> str:
    """The checkpoint of a translation model: of a known name, else the reference itself."""
    return TRANSLATORS.get(name, name)


@cache
def known_models() -> dict[str, dict[str, Any]]:
    """Model name -> family, checkpoint and what goes with it, from the family files and the sandbox."""
    known: dict[str, dict[str, Any]] = {}
    for family in registry.names("models"):
        for name, facts in registry.load("models", family).checkpoints.items():
            known[name] = {"family": family, **asdict(facts)}
            known[name]["checkpoint"] = known[name].pop("reference")
    for name, facts in world.MODELS.items():
        known[name] = {"family": facts["family"], "checkpoint": SANDBOX + name}
    return known


def is_local(reference: str) -> bool:
    """Whether a checkpoint or data reference is a path: it looks like one, or it is a folder here.

    A hub id has one slash at most: `org/name`.
    """
    looks_so = reference.startswith((".", "/", "~")) or reference.partition("@")[0].count("/") > 1
    return looks_so or (reference != "sandbox" and os.path.isdir(reference))


def local_path(reference: str) -> Path:
    """The absolute folder of a local reference."""
    return Path(os.path.expanduser(reference)).absolute()


def checkpoint_identity(checkpoint: str) -> dict[str, str]:
    """What determines a checkpoint's weights and tokenizer."""
    if checkpoint.startswith(SANDBOX):
        return {"sandbox": world.VERSION, "model": checkpoint.removeprefix(SANDBOX)}
    if is_local(checkpoint):
        return {"content": files_digest(content_files(local_path(checkpoint)))}
    name, _, revision = checkpoint.partition("@")
    return {"hub": name, "revision": revision or "main"}


def content_files(folder: Path) -> list[Path]:
    """Return the files that make a local checkpoint what it is, sorted; folders are none of them."""
    return [file for file in sorted(folder.iterdir()) if file.suffix in _CONTENT and not file.is_dir()]


def read_config(folder: Path) -> dict[str, Any]:
    """Return the config.json of a local checkpoint. Raises Unreadable for what is no JSON object, or no file."""
    file = folder / CONFIG
    try:
        config = json.loads(decode(read_bytes(file, _MOST_OF_A_CONFIG)))
    except Unreadable as error:
        got = error.found if str(file) in error.found else f"{file}, {error.found}"
        raise Unreadable(got, error.wanted) from error
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{file}, which is no JSON ({str(error)[:100]})", _A_CONFIG) from error
    if not isinstance(config, dict):
        kind = {list: "a list", type(None): "null", str: "text"}.get(type(config), "a number")
        raise Unreadable(f"{file}, which is {kind}", _A_CONFIG)
    return config


def check_folder(folder: Path) -> None:
    """Raise Unreadable where a local checkpoint's config.json or another file of its content cannot be read."""
    read_config(folder)
    try:
        files = content_files(folder)
    except OSError as error:
        raise Unreadable(f"{folder}: {error.strerror}", "a folder that can be listed") from error
    for file in files:
        check_readable(file)


def files_digest(files: Iterable[Path]) -> str:
    """Hash of files' names and contents, in the order given."""
    whole = hashlib.blake2b(digest_size=16)
    for file in files:
        whole.update(file.name.encode() + b"\0" + _file_digest(file).encode())
    return whole.hexdigest()


def _file_digest(file: Path) -> str:
    """Hash of one file, remembered by its path, inode, size and times of change: a 16 GB checkpoint is read once.

    Without a cache that can be read and written nothing is remembered.
    """
    facts = file.stat()
    if facts.st_size < 1 << 20:
        return hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
    times = [facts.st_mtime_ns, facts.st_ctime_ns]
    key = json.dumps([str(file.resolve()), facts.st_dev, facts.st_ino, facts.st_size, *times])
    name = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
    if known := _remembered(name):
        return known
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    _remember(name, digest)
    return digest


def _remembered(name: str) -> str | None:
    """Return a remembered hash; None where it is not there, damaged, or of another file."""
    try:
        content = (cache_folder() / _DIGESTS / name).read_text(encoding="ascii")
    except (OSError, ValueError, InputError):
        return None
    digest = content.partition(" ")[0]
    return digest if content == _signed(name, digest) else None


def _remember(name: str, digest: str) -> None:
    """Put a hash into the cache, if there is one that can be written."""
    with suppress(OSError, InputError):
        memory = cache_folder() / _DIGESTS / name
        memory.parent.mkdir(parents=True, exist_ok=True)
        scratch = memory.with_suffix(f".{os.getpid()}")
        scratch.write_text(_signed(name, digest), encoding="ascii")
        if memory.is_dir():
            shutil.rmtree(memory, ignore_errors=True)
        scratch.replace(memory)


def _signed(name: str, digest: str) -> str:
    """Return a hash with a checksum of it and of the file's key."""
    return f"{digest} {hashlib.blake2b(f'{name} {digest}'.encode(), digest_size=16).hexdigest()}"
