"""A task's languages and every name that they may have in file names and sweeps: English names, codes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import ClassVar

from flare_ray.core.languages import code_of, names_of
from flare_ray.plan.checkpoints import is_local, local_path
from flare_ray.sandbox import world

_SANDBOX = "sandbox"


@cache
def all_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return a language's names, then its further ones, in lower case and as codes and names are usually written."""
    code = next((code for name in names if (code := code_of(name))), None)
    if code is None:
        return names
    every = [*names, *names_of(code), code]
    written = [name.upper() if len(name) < 4 else name.capitalize() for name in every]
    others = [name.capitalize() if len(name) < 4 else name.upper() for name in every]
    return tuple(dict.fromkeys([*every, *written, *others]))


def known_as(name: str, languages: tuple[str, ...]) -> str:
    """Return the one of these languages that a name stands for, in any case; the name itself if none does."""
    code = code_of(name)
    return next((one for one in languages if code is not None and code_of(one) == code), name)


class Languages(ABC):
    """The languages of a task, by the codes of the study."""

    source_language: ClassVar[str] = "eng"
    languages: ClassVar[Mapping[str, str]]
    """Target language code -> its name in the original distribution's files."""
    also_called: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Further names of a language in file names, by code."""
    left_out: ClassVar[Mapping[str, str]] = {}
    """File name of a language that the distribution has and the study leaves out -> why."""

    @abstractmethod
    def languages_in(self, folder: Path) -> Iterable[str]:
        """Languages that a folder has a test split of, as its files name them, English among them or not."""

    def targets(self, source: str) -> list[str]:
        """Target languages that a data source has for this task, in table order.

        A file name that the table does not know is a language of the user's own, called by that name.
        """
        if source == _SANDBOX:
            return list(world.LANGUAGES)
        if not is_local(source):
            return list(self.languages)
        folder = local_path(source)
        there = sorted(set(self.languages_in(folder))) if folder.is_dir() else []
        mine = dict.fromkeys(self.code(name) for name in there if name not in self.left_out)
        mine.pop(self.source_language, None)
        known = [code for code in self.languages if code in mine]
        return known + [code for code in mine if code not in self.languages]

    def skipped(self, source: str) -> dict[str, str]:
        """Languages that a local source has and the study leaves out, with the reason."""
        if not self.left_out or source == _SANDBOX or not is_local(source) or not local_path(source).is_dir():
            return {}
        there = set(self.languages_in(local_path(source)))
        return {name: why for name, why in self.left_out.items() if name in there}

    def folder_name(self, source: str, language: str) -> str:
        """The name of a language code in the files of a data source."""
        if language == self.source_language:
            return world.SOURCE
        return self.languages.get(language, language)

    def usual_names(self, language: str) -> tuple[str, ...]:
        """Return the names of a language in the corpus's own files, which go before all others."""
        if language == self.source_language:
            return (world.SOURCE, "en", self.source_language)
        names = (self.languages.get(language, language), language, *self.also_called.get(language, ()))
        return tuple(dict.fromkeys(names))

    def aliases(self, language: str) -> tuple[str, ...]:
        """All names that a language may have in file names, the usual ones first."""
        return all_names(self.usual_names(language))

    def code(self, name: str) -> str:
        """The code of a language named in a file name; the name itself when it is the user's own."""
        every = (self.source_language, *self.languages)
        return next((code for code in every if name in self.aliases(code)), known_as(name, every))
