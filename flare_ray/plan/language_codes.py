"""Languages of a sweep by their codes, whatever name the sweep file gives them: one language has one fingerprint."""

from __future__ import annotations

from collections.abc import Iterable

from flare_ray import registry
from flare_ray.core.languages import code_of
from flare_ray.plan.grid import data_source
from flare_ray.plan.schema import Sweep


def matching(name: str, languages: Iterable[str]) -> str | None:
    """Return the one of these languages that a name stands for: itself, or another name of it."""
    known = list(languages)
    if name in known:
        return name
    code = code_of(name)
    return next((one for one in known if code is not None and code_of(one) == code), None)


def with_language_codes(sweep: Sweep) -> Sweep:
    """Return a sweep whose languages are codes, each once.

    A code of some task stands for itself; another name for the language of each task that has it.
    """
    if sweep.languages == "all":
        return sweep
    targets = []
    for name in sweep.tasks:
        try:
            task = registry.load("tasks", name)
            targets.append((task.targets(data_source(sweep, name)), task.code))
        except OSError:  # reported with the data
            continue
    codes: dict[str, None] = {}
    for name in sweep.languages:
        exact = [name] if any(name in known for known, _ in targets) else []
        others = [matching(code(name), known) for known, code in targets]
        codes.update(dict.fromkeys(exact or [one for one in others if one] or [name]))
    if list(codes) == sweep.languages:
        return sweep
    return sweep.model_copy(update={"languages": list(codes)})
