"""The `storage` of a sweep file: a folder, or a URL of an object store whose writes the store can rely on.

    absolute_storage("results")             # "/home/me/study/results"
    absolute_storage("s3://bucket/study")   # the same
    absolute_storage("$SCRATCH/results")    # ValueError: nothing expands variables in a sweep file

fsspec has some forty protocols more. Memory is gone with its process, archives and web servers cannot be written to,
and chains (`filecache::s3://…`) keep copies that other drivers do not see, so the store takes none of them.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from flare_ray import registry

PROTOCOLS = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "file", "local")
"""Amazon's and compatible services, Google's, Azure's; a folder."""
LONGEST_NAME, LONGEST_PATH = 255, 4096
"""Bytes of a file name, and of a path, on Linux."""
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(/*)(.*)", re.DOTALL)
_CHAIN = re.compile(":{2}")
_VARIABLE = re.compile(r"\$(\w|\{)")


def absolute_storage(storage: str) -> str:
    """Return a storage as every process can use it. Raises ValueError that says what is expected instead."""
    if not storage.strip():
        raise ValueError("a folder or a URL; leave the field out for the folder results")
    if any(ord(character) < 32 for character in storage):
        raise ValueError("text without control characters")
    if _CHAIN.search(storage):
        raise ValueError(f"one URL, not a chain; {_one_of_the_protocols()}")
    url = _URL.fullmatch(storage)
    if url and (url[2] or url[1] in PROTOCOLS):
        _check_url(url[1], url[2], url[3])
        return storage
    check_path(storage)
    path = str(Path(os.path.expanduser(storage)).absolute())
    _check_folder(path)
    return path


def is_storage(storage: str) -> bool:
    """Return whether a storage is a folder or a URL that the store takes."""
    try:
        absolute_storage(storage)
    except ValueError:
        return False
    return True


def check_path(path: str) -> None:
    """Raise ValueError for a path that no shell has expanded, or that no file system takes."""
    if variable := _VARIABLE.search(path):
        raise ValueError(
            f"a path without {path[variable.start() :].partition('/')[0]}: variables are not expanded "
            'in a sweep file; write the path, or expand it in the shell: --set storage="$NAME/…"'
        )
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise ValueError(
            f"a path from a home folder; there is no user {path.partition('/')[0].removeprefix('~')!r}"
        )
    if too_long(expanded):
        raise ValueError(f"names of at most {LONGEST_NAME} bytes in a path of at most {LONGEST_PATH}")


def too_long(path: str) -> bool:
    """Return whether a path, or a name in it, is longer than a file system takes."""
    content = os.fsencode(path)
    return len(content) > LONGEST_PATH or any(len(name) > LONGEST_NAME for name in content.split(b"/"))


def _check_url(protocol: str, slashes: str, rest: str) -> None:
    if protocol not in PROTOCOLS:
        raise ValueError(_one_of_the_protocols(protocol))
    if protocol in ("file", "local"):
        if len(slashes) < 3:
            raise ValueError(f"{protocol}:///… with the absolute path of a folder, or the path alone")
        check_path(f"/{rest}")
        _check_folder(f"/{rest}")
        return
    if len(slashes) != 2 or not rest:
        raise ValueError(f"{protocol}://bucket/folder")
    if _VARIABLE.search(rest):
        raise ValueError("a URL without $: variables are not expanded in a sweep file")
    if len(rest.encode()) > 1000:
        raise ValueError("a URL of at most 1,000 bytes: object stores take no longer names")


def _check_folder(path: str) -> None:
    """Raise ValueError where the path, or a folder above it, is there and is not a folder."""
    for folder in (Path(path), *Path(path).parents):
        try:
            mode = os.stat(folder).st_mode
        except (FileNotFoundError, NotADirectoryError):
            if os.path.islink(folder):
                raise ValueError(f"a folder; {folder} is a link to nothing") from None
            continue
        except (OSError, ValueError):
            return  # whoever opens the store says what is wrong with it
        if not stat.S_ISDIR(mode):
            raise ValueError(f"a folder; {folder} is none")
        return


def _one_of_the_protocols(protocol: str = "") -> str:
    return f"a folder, or a URL with {registry.wanted(protocol, PROTOCOLS)}"
