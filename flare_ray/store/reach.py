"""A storage behind a driver that cannot be asked: away beyond all patience, or not open to this account.

Each driver has errors of its own for that, many of them no OSError; here they get one name each, and where a command
ends the words and the exit code of one.

    asked(lambda: fs.cat_file(place))   # raises StoreAway, StoreRefused
    with told():                        # raises Unreachable, InputError for them
        …
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from flare_ray.errors import InputError, Problem, refusal
from flare_ray.store.disk import FULL
from flare_ray.store.patience import causes, passes, patiently

T = TypeVar("T")


class StoreAway(ConnectionError):
    """The storage does not answer, or is busy, for longer than anybody waits at once."""


class StoreRefused(PermissionError):
    """The storage does not take the credentials, finds none, or has nothing of that name."""


def asked(work: Callable[[], T]) -> T:
    """What a driver answers, patiently.

    Raises StoreAway for what may pass, StoreRefused for any other error of the driver's own, and for settings that it
    cannot use; Python's other errors (FileNotFoundError, no space left) come as they are.
    """
    try:
        return patiently(work)
    except Exception as error:
        if passes(error):
            raise StoreAway(_in_words(error)) from error
        if isinstance(error, (PermissionError, ValueError)) or type(error).__module__ != "builtins":
            raise StoreRefused(_in_words(error)) from error
        raise


@contextmanager
def told() -> Iterator[None]:
    """What ends a command because of its storage. Raises Unreachable for StoreAway, InputError for StoreRefused."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if (found := _of_storage(error)) is None:
            raise
        raise refusal("storage", [problem(found)]) from error


def problem(error: BaseException, url: str | None = None) -> Problem:
    """What is wrong with a storage, by the error that it gave."""
    words = str(error) if isinstance(error, (StoreAway, StoreRefused)) else _in_words(error)
    found = f"{url!r}: {words}" if url else words
    if isinstance(error, OSError) and error.errno in FULL:
        return Problem("storage", found, "free space there, or another storage", passes=True)
    if passes(error):
        return Problem("storage", found, "a storage that answers", passes=True)
    wanted = "a folder that can be written, or an fsspec URL whose driver is installed and finds credentials"
    return Problem("storage", found, wanted)


def _of_storage(error: BaseException | None) -> BaseException | None:
    """The error of a storage that another one comes from, or is."""
    return next((one for one in causes(error) if isinstance(one, (StoreAway, StoreRefused))), None)


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
