"""Languages of a sweep by their codes, whatever name the sweep file gives them: one language has one fingerprint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from flare_ray import registry
from flare_ray.core.languages import code_of
from flare_ray.plan.grid import data_source
from flare_ray.plan.rules import Override, Rule
from flare_ray.plan.schema import Sweep

Targets = Sequence[tuple[Sequence[str], Callable[[str], str]]]
"""For each task: the languages that its data has, and the code of a language's name."""
R = TypeVar("R", Rule, Override)


def matching(name: str, languages: Iterable[str]) -> str | None:
    """Return the one of these languages that a name stands for: itself, or another name of it."""
    known = list(languages)
    if name in known:
        return name
    code = code_of(name)
    return next((one for one in known if code is not None and code_of(one) == code), None)


def with_language_codes(sweep: Sweep) -> Sweep:
    """Return a sweep whose languages are codes, each once, in its rules and overrides too.

    A code of some task stands for itself; another name for the language of each task that has it.
    """
    rules: list[Rule | Override] = [*sweep.include, *sweep.exclude, *sweep.overrides]
    if sweep.languages == "all" and all(rule.language is None for rule in rules):
        return sweep
    targets = _targets(sweep)
    changes: dict[str, Any] = {}
    if sweep.languages != "all":
        codes = _codes(sweep.languages, targets)
        if codes != sweep.languages:
            changes["languages"] = codes
    for name in ("include", "exclude", "overrides"):
        given = getattr(sweep, name)
        coded = [_with_codes(rule, targets) for rule in given]
        if any(rule is not other for rule, other in zip(coded, given, strict=True)):
            changes[name] = coded
    return sweep.model_copy(update=changes) if changes else sweep


def _targets(sweep: Sweep) -> Targets:
    targets = []
    for name in sweep.tasks:
        try:
            task = registry.load("tasks", name)
            targets.append((task.targets(data_source(sweep, name)), task.code))
        except OSError:  # reported with the data
            continue
    return targets


def _codes(names: Sequence[Any], targets: Targets) -> list[Any]:
    """Return the codes of languages, each once; what is no language's name stays as it is."""
    codes: dict[Any, None] = {}
    for name in names:
        exact = [name] if any(name in known for known, _ in targets) or not isinstance(name, str) else []
        others = [] if exact else [matching(code(name), known) for known, code in targets]
        codes.update(dict.fromkeys(exact or [one for one in others if one] or [name]))
    return list(codes)


def _with_codes(rule: R, targets: Targets) -> R:
    """Return a rule with codes in place of other names of its languages; the rule itself if it has none."""
    if rule.language is None:
        return rule
    names = rule.language if isinstance(rule.language, list) else [rule.language]
    codes = _codes(names, targets)
    if codes == names:
        return rule
    coded = rule.model_copy(update={"language": codes})
    coded.__dict__.pop("axes", None)  # worked out of the other names
    return coded
