"""Let a database's artifact addresses follow its storage: MLflow keeps absolute ones, storages are moved and copied.

relocate("sqlite:////new/mlflow.db", Path("/new/mlflow-artifacts"))
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

log = logging.getLogger(__name__)
ARTIFACTS = "mlflow-artifacts"
"""The folder of artifacts in a storage, beside mlflow.db."""


def experiment_folder(root: Path, experiment: str) -> Path:
    """Return the folder of an experiment's artifacts."""
    return root / experiment.replace("/", "-")


def run_folder(root: Path, experiment: str, run_id: str) -> Path:
    """Return the folder of a run's artifacts."""
    return experiment_folder(root, experiment) / run_id / "artifacts"


def local_path(uri: str) -> Path | None:
    """Return the path that an artifact address names on this machine, None for another place."""
    pieces = urlsplit(uri)
    return Path(unquote(pieces.path)) if pieces.scheme in ("", "file") else None


def relocate(uri: str, root: Path) -> int:
    """Point experiments and runs whose artifacts lie under `root` there; return how many addresses changed.

    What has no folder under `root` is left as it is: several storages may share one database. A database that cannot
    be written keeps its addresses.
    """
    import sqlalchemy
    from sqlalchemy.exc import OperationalError

    engine = sqlalchemy.create_engine(uri)
    try:
        with engine.connect() as connection:
            if not sqlalchemy.inspect(connection).has_table("experiments"):
                return 0
            changes = _changes(connection, sqlalchemy.text, root)
            for table, (column, key), values in changes:
                statement = f"update {table} set {column} = :address where {key} = :key"
                connection.execute(sqlalchemy.text(statement), values)
            connection.commit()
    except OperationalError as error:
        if "readonly" not in str(error) and "read-only" not in str(error):
            raise
        log.warning("artifacts are looked for in their earlier place: %s cannot be written", root.parent)
        return 0
    finally:
        engine.dispose()
    return sum(len(values) for *_, values in changes)


def _changes(
    connection: Any, text: Any, root: Path
) -> list[tuple[str, tuple[str, str], list[dict[str, Any]]]]:
    rows = connection.execute(text("select experiment_id, name, artifact_location from experiments")).all()
    names = {
        key: name
        for key, name, uri in rows
        if local_path(uri or "") and experiment_folder(root, name).is_dir()
    }
    moved = [
        {"key": key, "address": experiment_folder(root, name).as_uri()}
        for key, name, uri in rows
        if key in names and uri != experiment_folder(root, name).as_uri()
    ]
    runs = []
    for key, experiment, uri in connection.execute(
        text("select run_uuid, experiment_id, artifact_uri from runs")
    ):
        if experiment not in names or not local_path(uri or ""):
            continue
        folder = run_folder(root, names[experiment], key)
        if uri != folder.as_uri() and folder.is_dir():
            runs.append({"key": key, "address": folder.as_uri()})
    changes = [("experiments", ("artifact_location", "experiment_id"), moved)]
    changes += [("runs", ("artifact_uri", "run_uuid"), runs)]
    return [change for change in changes if change[2]]


def set_experiment_folder(uri: str, experiment: str, folder: Path) -> None:
    """Give an experiment, by its id, the folder in which its next runs keep their artifacts."""
    _update(uri, "experiments", ("artifact_location", "experiment_id"), int(experiment), folder)


def set_run_folder(uri: str, run_id: str, folder: Path) -> None:
    """Give a run the folder of its artifacts."""
    _update(uri, "runs", ("artifact_uri", "run_uuid"), run_id, folder)


def _update(uri: str, table: str, names: tuple[str, str], key: Any, folder: Path) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    try:
        with engine.begin() as connection:
            statement = f"update {table} set {names[0]} = :address where {names[1]} = :key"
            connection.execute(sqlalchemy.text(statement), {"key": key, "address": folder.as_uri()})
    finally:
        engine.dispose()
