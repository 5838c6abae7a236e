"""Where Tune and Train keep their own files, of use only to whoever looks for the cause of a failure."""

from __future__ import annotations

import time
from typing import Any

from flare_ray.store.files import Files


def ray_files(store: Files) -> str:
    """A new place in the store: its URL, or a folder's path."""
    return store.url.rstrip("/") + time.strftime("/ray/%Y-%m-%d_%H-%M-%S")


def run_storage(url: str) -> dict[str, Any]:
    """The storage arguments of Tune's and Train's `RunConfig` for such a place.

    Ray asks pyarrow what a URL is. Where pyarrow does not know the scheme (az://), it gets the store's own driver.
    """
    import pyarrow.fs

    try:
        pyarrow.fs.FileSystem.from_uri(url)
    except OSError:  # it knows the scheme, and nobody answers: Ray says so
        return {"storage_path": url}
    except ValueError:
        files = Files(url)
        driver = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(files.fs))
        return {"storage_path": files.root, "storage_filesystem": driver}
    return {"storage_path": url}
