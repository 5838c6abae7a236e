"""What an error of MLflow's means: whether it may pass by itself, concerns one request, or a run that is gone."""

from __future__ import annotations

from flare_ray.errors import InputError, Unreachable


class NotWritten(Exception):
    """MLflow has taken a run and does not have all of it."""


def is_outage(error: BaseException) -> bool:
    """Whether MLflow may be able to do it later: it is away, overloaded, or its database locked."""
    from mlflow import MlflowException

    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, Unreachable):
        return True
    if isinstance(error, MlflowException):
        if error.error_code in ("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "INTERNAL_ERROR"):
            return True
        return error.get_http_status_code() >= 500 or error.get_http_status_code() in (408, 429)
    return bool(names & {"ConnectionError", "Timeout", "OperationalError", "InterfaceError", "HTTPError"})


def is_refusal(error: BaseException) -> bool:
    """Whether an outage may be of this one request's making: an error inside of MLflow that has no better name."""
    text = str(error)
    return "503" not in text and "TEMPORARILY_UNAVAILABLE" not in text and "429" not in text


def is_gone(error: BaseException) -> bool:
    """Whether a run that was being written has been deleted: another writer had it whole before."""
    text = str(error)
    return (
        "RESOURCE_DOES_NOT_EXIST" in text
        or "must be in the 'active' state" in text
        or "'active' lifecycle" in text
    )


def concerns_database(error: BaseException) -> bool:
    """Whether an error may come from the database itself, and not from the record that was to be written."""
    module = type(error).__module__.partition(".")[0]
    return isinstance(error, InputError) or module in ("mlflow", "sqlalchemy", "sqlite3", "alembic")
