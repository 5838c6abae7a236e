"""Files that are in a data folder and are not read, and tables that are read in an unusual way: both are named."""

from __future__ import annotations

from collections.abc import Iterator

from flare_ray import registry
from flare_ray.errors import InputError, Problem
from flare_ray.inputs.findings import Findings
from flare_ray.plan.checkpoints import is_local
from flare_ray.plan.grid import data_source
from flare_ray.plan.schema import Sweep
from flare_ray.tables.reader import describe
from flare_ray.tasks._unread import differ, unread_files
from flare_ray.tasks.base import Task

_MOST = 20
"""Files of a task that are named one by one."""


def check_data_files(sweep: Sweep, findings: Findings) -> None:
    """Find unread files of each task's folder; two files with different rows for one split are a problem."""
    for name in sweep.tasks:
        task, source = registry.load("tasks", name), data_source(sweep, name)
        where = f"data.{name}"
        warnings = []
        read = (task.source_language, *_chosen(task, source, sweep))
        for entry in unread_files(task, source):
            if entry.language in read and differ(task, entry):
                what = f"the {entry.split} split of {entry.language}"
                got = f"{entry.file} and {entry.instead}: two files with different rows for {what}"
                findings.add([Problem(where, got, "one of them; remove or rename the other")])
            else:
                warnings.append(
                    Problem(
                        where, f"{entry.file} is not read: {entry.reason}", "a file that is read, or none"
                    )
                )
        if len(warnings) > _MOST:
            rest = f"{len(warnings) - _MOST} further files that are not read"
            warnings = [*warnings[:_MOST], Problem(where, rest, "files that are read, or none")]
        findings.add(warnings=[*warnings, *_unusual(task, source, where, sweep)])


def _chosen(task: Task, source: str, sweep: Sweep) -> list[str]:
    """Return the languages of the sweep that a data source has."""
    targets = task.targets(source)
    return targets if sweep.languages == "all" else [code for code in sweep.languages if code in targets]


def _unusual(task: Task, source: str, where: str, sweep: Sweep) -> Iterator[Problem]:
    """Yield how tables are read whose delimiter or quoting is not their format's."""
    if not is_local(source):
        return
    for language in (task.source_language, *_chosen(task, source, sweep)):
        try:
            read_as = {file: describe(file) for file in task.files(source, language)}
        except InputError:  # named as it is read
            continue
        for file, how in read_as.items():
            if how:
                usual = "commas" if file.suffix == ".csv" else "tabs, without quoting"
                yield Problem(where, f"{file} is read with {how}", f"{usual}, or that this is right")
