"""An MLflow database file that is there with all of its tables, or not at all.

MLflow makes its tables in dozens of steps, which take seconds, and a file whose maker was killed in between cannot be
used by anybody ever after. So it is made beside, and then put in its place in one step.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path

from flare_ray.tracking.database_check import sqlite_file

_SQLITE = "sqlite:///"
log = logging.getLogger(__name__)


def ensure(uri: str) -> None:
    """Makes the file that a sqlite URI names, if it is not there or empty; of other URIs nothing."""
    place = sqlite_file(uri)
    if place is None or "?" in uri or (place.exists() and not _is_empty(place)):
        return
    with tempfile.TemporaryDirectory(prefix="flare-ray-") as scratch:
        made = Path(scratch) / "mlflow.db"
        try:
            _make(made)
        except (AttributeError, ImportError) as error:  # another MLflow than we know: it makes it itself
            log.warning("MLflow's database is made in its place: %s", error)
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
        shutil.copyfile(made, beside)
    try:
        _remove_empty(place)
        with suppress(FileExistsError):  # another process was faster
            os.link(beside, place)
            return
    except OSError:  # a file system without links
        if not place.exists():
            os.replace(beside, place)
    finally:
        beside.unlink(missing_ok=True)


def _is_empty(file: Path) -> bool:
    return file.is_file() and file.stat().st_size == 0


def _remove_empty(place: Path) -> None:
    """Remove an empty file, which SQLite leaves where it opens one that is not there. One that fills stays."""
    aside = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    with suppress(FileNotFoundError):
        if _is_empty(place):
            os.rename(place, aside)
            if aside.stat().st_size:
                os.link(aside, place)
            aside.unlink()


def _make(file: Path) -> None:
    from mlflow.store.db import utils

    engine = utils.create_sqlalchemy_engine(f"{_SQLITE}{file}")
    try:
        utils._initialize_tables(engine)
    finally:
        engine.dispose()
