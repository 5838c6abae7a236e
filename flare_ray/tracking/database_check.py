"""Check a tracking database before MLflow opens it: MLflow itself retries for minutes and names no remedy.

    database_problems("sqlite:////results/mlflow.db")

Nothing in here imports mlflow; the revisions of its schema are read from the names in its migration scripts.
"""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import sqlite3
import urllib.parse
from collections.abc import Iterable
from contextlib import closing
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from flare_ray.errors import Problem
from flare_ray.redaction import redacted

DATABASES = {"postgresql": 5432, "mysql": 3306, "mssql": 1433, "sqlite": 0}
"""Kinds of database that MLflow takes, with their ports."""
LOCK_SECONDS = 10.0
"""Seconds that a lock of another process is waited for."""
_CONNECT_SECONDS = 5.0
_CHECKED_BYTES = 64 * 2**20
"""Size up to which a file's pages are all looked at, which takes about a second."""
_ANEW = "move the file away, and `flare-ray sync FILE` writes it anew from the store"


def sqlite_file(uri: str) -> Path | None:
    """Return the file that a SQLite URI names, None for other URIs and databases in memory."""
    scheme, separator, path = uri.partition(":///")
    path = path.partition("?")[0]
    if not separator or scheme not in ("sqlite", "sqlite+pysqlite") or path in ("", ":memory:"):
        return None
    return Path(path)


def driver_problem(uri: str) -> str | None:
    """Return what is wrong with a database URI itself: its form, or a driver that is not installed."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        make_url(uri).get_dialect().import_dbapi()
    except ImportError as error:
        return f"its driver is not installed: {error}"
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        return str(error)
    return None


def database_problems(uri: str, to_write: bool = True) -> list[Problem]:
    """Return what is wrong with a database: at most one problem, in seconds. One that is not there yet is fine.

    to_write: whether it must be one that can be written now.
    """
    file = sqlite_file(uri)
    problem = _server_problem(uri) if file is None else _file_problem(file, uri, to_write)
    if not problem:
        return []
    got, expected, passes = problem
    return [Problem("tracking.uri", redacted(got), expected, passes=passes)]


Found = tuple[str, str, bool]
"""What is there, what is expected with its remedy, and whether it may pass by itself."""


def _file_problem(file: Path, uri: str, to_write: bool) -> Found | None:
    try:
        return _kind_problem(file, to_write) or _content_problem(file, uri, to_write)
    except sqlite3.OperationalError as error:
        text = str(error)
        if "locked" in text or "busy" in text:
            got = f"{file}: locked by another process for {LOCK_SECONDS:.0f} s"
            return got, "a database that can be used: end that process, or wait for it", True
        expected = (
            f"a database that can be {'written' if to_write else 'read'}: mend its permissions and disk"
        )
        return f"{file}: {text}", f"{expected}, or {_ANEW}", False
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        return f"{file}: {error}", f"an MLflow database that is whole: {_ANEW}", False
    except OSError as error:
        return (
            f"{file}: {error.strerror}",
            f"a file that can be read: mend its permissions, or {_ANEW}",
            False,
        )


def _kind_problem(file: Path, to_write: bool) -> Found | None:
    """Return why a path cannot be a database's. Raises OSError."""
    if file.exists():
        if file.is_file():
            return _permission_problem(file) if to_write else None
        return f"{file}: no file", f"an MLflow database: {_ANEW.replace('file', 'folder', 1)}", False
    if file.is_symlink():
        return f"{file}: a link to a file that does not exist", _ANEW, False
    return _folder_problem(file) if to_write else None


def _may(path: Path, mode: int) -> bool:
    """Return whether this process, by its effective rights, may do something with a file or folder."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _permission_problem(file: Path) -> Found | None:
    """Return why a file cannot be written: it, or its folder, which SQLite needs for a journal."""
    if _may(file, os.W_OK) and _may(file.absolute().parent, os.W_OK | os.X_OK):
        return None
    return (
        f"{file}: it or its folder cannot be written",
        "a database that can be written: mend its permissions",
        False,
    )


def _folder_problem(file: Path) -> Found | None:
    """Return why a file that is not there cannot be made."""
    folder = next((parent for parent in file.absolute().parents if parent.exists()), Path("/"))
    if not folder.is_dir():
        return f"{file}: {folder} is no folder", "a path in a folder that can be written", False
    if not _may(folder, os.W_OK | os.X_OK):
        return f"{file}: {folder} cannot be written", "a path in a folder that can be written", False
    return None


def _content_problem(file: Path, uri: str, to_write: bool) -> Found | None:
    """Look into a file; one that is empty or not there gets its tables. Raises sqlite3.DatabaseError, OSError."""
    if not file.exists() or file.stat().st_size == 0:
        return None
    with file.open("rb") as stream:
        header = stream.read(100)
    if not header.startswith(b"SQLite format 3\x00"):
        raise sqlite3.DatabaseError("file is not a database")
    quoted = urllib.parse.quote(str(file.absolute()))
    # A writer that was killed leaves a journal, which only a connection that may write can roll back.
    with closing(sqlite3.connect(f"file:{quoted}?mode=rw", uri=True, timeout=LOCK_SECONDS)) as connection:
        connection.isolation_level = None
        connection.execute(f"begin {'immediate' if to_write else 'deferred'}")
        tables = {name for (name,) in connection.execute("select name from sqlite_master where type='table'")}
        size = file.stat().st_size
        pages = connection.execute("pragma page_count").fetchone()[0]
        page = connection.execute("pragma page_size").fetchone()[0]
        if size < pages * page:
            raise sqlite3.DatabaseError(f"cut off: {size} bytes of {pages * page}")
        if size <= _CHECKED_BYTES:
            (answer,) = connection.execute("pragma quick_check(1)").fetchone()
            if answer != "ok":
                raise sqlite3.DatabaseError(f"damaged: {answer.splitlines()[-1]}")
        revisions: list[str] = []
        if "alembic_version" in tables:
            revisions = [
                revision for (revision,) in connection.execute("select version_num from alembic_version")
            ]
        connection.execute("rollback")
    if tables and "experiments" not in tables:
        got = f"{file}: a database of something else, with tables {', '.join(sorted(tables)[:3])} …"
        return got, "a file of MLflow's alone: give another name", False
    return _schema_problem(str(file), uri, revisions) if tables else None


def _schema_problem(name: str, uri: str, revisions: Iterable[str]) -> Found | None:
    """Return what is wrong with the revision of a schema. name: of the database, for the message."""
    head, known = schema_revisions()
    current = ", ".join(revisions) or "none"
    if head is None or current == head:
        return None
    expected = f"MLflow {_mlflow_version()}'s {head}"
    database = sqlite_file(uri)
    anew = f", or {_ANEW}" if database else ""
    if current == "none" or current in known:
        got = f"{name}: the database schema of an older MLflow (revision {current})"
        return got, f"{expected}: run `mlflow db upgrade {redacted(uri)}`{anew}", False
    got = f"{name}: the database schema of a newer MLflow (revision {current})"
    return got, f"{expected}: install the MLflow that wrote it{anew}", False


@cache
def schema_revisions() -> tuple[str | None, frozenset[str]]:
    """Return the schema revision of the installed MLflow, and all that it knows; None where they cannot be read."""
    spec = importlib.util.find_spec("mlflow")
    folders = list(spec.submodule_search_locations or []) if spec else []
    known, earlier = set(), set()
    for folder in folders:
        for script in (Path(folder) / "store" / "db_migrations" / "versions").glob("*.py"):
            text = script.read_text(encoding="utf-8")
            known |= set(re.findall(r"^revision\s*(?::[^=]*)?=\s*[\"'](\w+)[\"']", text, re.MULTILINE))
            for line in re.findall(r"^down_revision\s*(?::[^=]*)?=\s*(.*)$", text, re.MULTILINE):
                earlier |= set(re.findall(r"[\"'](\w+)[\"']", line))
    heads = known - earlier
    return (heads.pop() if len(heads) == 1 else None), frozenset(known)


def _mlflow_version() -> str:
    try:
        return version("mlflow")
    except PackageNotFoundError:
        return "?"


def _server_problem(uri: str) -> Found | None:
    """Return why a database server cannot be used: it does not answer, refuses, or has another schema."""
    expected = "a database server that answers, with this user, password and database"
    pieces = urllib.parse.urlsplit(uri)
    port = DATABASES.get(pieces.scheme.partition("+")[0], 0)
    try:
        if pieces.hostname and (pieces.port or port):
            address = (pieces.hostname, pieces.port or port)
            socket.create_connection(address, timeout=_CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        return f"{redacted(uri)!r}, which does not answer: {error}", expected, isinstance(error, OSError)
    return _asked(uri, expected)


def _asked(uri: str, expected: str) -> Found | None:
    import sqlalchemy
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    engine = sqlalchemy.create_engine(uri)
    try:
        with engine.connect() as connection:
            if not {"experiments", "alembic_version"} <= set(
                sqlalchemy.inspect(connection).get_table_names()
            ):
                return None  # MLflow makes its tables
            rows = connection.execute(sqlalchemy.text("select version_num from alembic_version"))
            return _schema_problem(redacted(uri), uri, [str(revision) for (revision,) in rows])
    except SQLAlchemyError as error:
        text = str(error.orig if isinstance(error, DBAPIError) else error).strip().partition("\n")[0]
        permanent = re.search(r"authentication|password|denied|does not exist|unknown database", text, re.I)
        return f"{redacted(uri)!r}: {text}", expected, not permanent
    finally:
        engine.dispose()
