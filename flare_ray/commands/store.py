"""`flare-ray store ls | gc | verify`: what a storage folder or URL holds, what of it can go, whether it is whole.

    flare-ray store ls results --kind runs --long
    flare-ray store gc --sweep sweeps/table1.yaml --sweep sweeps/table2.yaml
    flare-ray store verify s3://bucket/study --repair

Exit codes: 0 fine; 1 `verify` found something and did not repair it; 2 the input is wrong; 75 the storage does not
answer for the moment.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from flare_ray import registry
from flare_ray.commands.cache import cache_facts, list_cache, print_cache
from flare_ray.commands.guard import guarded
from flare_ray.commands.output import json_text
from flare_ray.commands.tables import age_text, print_rows, size_text
from flare_ray.errors import InputError, Problem
from flare_ray.plan.storage import absolute_storage
from flare_ray.store import Damaged, Store
from flare_ray.store.garbage import Garbage, Needed, Removal, garbage, remove
from flare_ray.store.identity import require_identity
from flare_ray.store.integrity import Checked, quarantine, verify
from flare_ray.store.inventory import Entry, Inventory

app = typer.Typer(no_args_is_help=True, help="Looks after a store: lists it, tidies it, checks it.")
_LISTED = 20  # things to remove that are printed one by one
_KINDS = (
    "bases",
    "checkpoints",
    "corpora",
    "failures",
    "ray",
    "reports",
    "runs",
    "translations",
    "quarantine",
)

Storage = Annotated[str | None, typer.Argument(metavar="[STORAGE]", help="A folder or URL; or give --sweep.")]
Sweep = Annotated[Path | None, typer.Option("--sweep", metavar="FILE", help="A sweep whose storage it is.")]
Sweeps = Annotated[
    list[Path] | None,
    typer.Option("--sweep", metavar="FILE", help="Keep only what such sweeps need. Repeatable."),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a field of the sweeps.")
]
Kinds = Annotated[
    list[str] | None, typer.Option("--kind", help=f"{', '.join(_KINDS)}, … Repeatable; all if left out.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("ls")
def ls_command(
    storage: Storage = None,
    sweep: Sweep = None,
    overrides: Overrides = None,
    kind: Kinds = None,
    long: Annotated[bool, typer.Option("--long", help="List every entry with its label and age.")] = False,
    cache: Annotated[
        bool, typer.Option("--cache", help="This machine's cache too, or alone without a storage.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Counts and bytes by kind."""

    def work() -> int:
        if cache and storage is None and sweep is None:
            return list_cache(as_json)
        code = _ls(_opened(storage, sweep, overrides), kind, long, as_json, cache)
        if cache and not as_json:
            print_cache()
        return code

    raise typer.Exit(guarded(work))


@app.command("gc")
def gc_command(
    storage: Storage = None,
    sweep: Sweeps = None,
    overrides: Overrides = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without this it is only listed.")] = False,
    as_json: AsJson = False,
) -> None:
    """What killed writers left and finished work does not need any more.

    With --sweep also every run, base model and translation that no such sweep needs.
    """
    raise typer.Exit(guarded(lambda: _gc(storage, sweep or [], overrides or [], yes, as_json)))


@app.command("verify")
def verify_command(
    storage: Storage = None,
    sweep: Sweep = None,
    overrides: Overrides = None,
    kind: Kinds = None,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Move damaged work to quarantine/: the next sweep makes it again."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Reads everything back: checksums, missing files, records and files that do not open."""
    raise typer.Exit(guarded(lambda: _verify(_opened(storage, sweep, overrides), kind, repair, as_json)))


def _ls(store: Store, kinds: list[str] | None, long: bool, as_json: bool, cache: bool) -> int:
    there = Inventory.of(store)
    _check_kinds(kinds, there)
    wanted = [kind for kind in there.kinds if not kinds or kind in kinds]
    rows = [_kind_row(there, kind) for kind in wanted]
    entries = [_entry_row(store, entry) for kind in wanted for entry in there.entries(kind)] if long else []
    if as_json:
        print(
            json_text(
                {"storage": store.url, "kinds": rows, "foreign": there.foreign}
                | ({"entries": entries} if long else {})
                | ({"cache": cache_facts()} if cache else {})
            )
        )
    elif long:
        print_rows(entries, {"bytes": size_text, "age": age_text}, f"{len(entries)} entries in {store.url}")
    else:
        total = sum(row["bytes"] for row in rows)
        print_rows(rows, {"bytes": size_text}, f"{size_text(total)} in {store.url}")
    if not as_json:
        _print_foreign(store, there)
    return 0


def _check_kinds(kinds: list[str] | None, inventory: Inventory) -> None:
    """Raise InputError for a kind that stores do not have: nothing of it would be listed or checked, with success."""
    known = sorted({*_KINDS, *filter(None, inventory.kinds)})
    problems = [
        Problem("--kind", repr(kind), registry.wanted(kind, known))
        for kind in kinds or []
        if kind not in known
    ]
    if problems:
        raise InputError("store", problems)


def _kind_row(there: Inventory, kind: str) -> dict[str, Any]:
    entries = there.entries(kind)
    return {
        "kind": kind or "(beside)",
        "entries": len(entries),
        "finished": sum(entry.whole for entry in entries) if kind in there.record_kinds else None,
        "files": sum(len(entry.files) for entry in entries),
        "bytes": there.bytes(kind),
    }


def _entry_row(store: Store, entry: Entry) -> dict[str, Any]:
    """age: seconds since its newest file was written."""
    age = None if entry.modified is None else max(0.0, time.time() - entry.modified)
    return {
        "kind": entry.kind,
        "name": entry.name,
        "label": _label(store, entry),
        "bytes": entry.bytes,
        "age": age,
    }


def _label(store: Store, entry: Entry) -> str | None:
    try:
        if entry.whole:
            return str(store.record(entry.kind, entry.name).get("label"))
        if entry.kind == "failures":
            failure = store.failure(entry.name.removesuffix(".json")) or {}
            return f"{failure.get('label')}: {failure.get('error')}"
    except (FileNotFoundError, Damaged):
        return "(cannot be read)"
    return "(unfinished)" if entry.kind in ("bases", "corpora", "runs") else None


def _gc(storage: str | None, sweeps: list[Path], overrides: Sequence[str], yes: bool, as_json: bool) -> int:
    store = _opened(storage, sweeps, overrides)
    require_identity(store.files)
    needed = _needed(sweeps, overrides) if sweeps else None
    there = Inventory.of(store)
    found = garbage(store, there, needed)
    removal = remove(store, found) if yes else None
    if as_json:
        facts: dict[str, Any] = {"storage": store.url, "removed": yes}
        facts |= {"garbage": [_facts(one) for one in (removal.removed if removal else found)]}
        facts |= {"foreign": there.foreign, "left": _left(removal)}
        print(json_text(facts))
    else:
        _print_garbage(store, found, removal)
        _print_foreign(store, there)
    return 1 if removal and removal.failed else 0


def _facts(one: Garbage) -> dict[str, Any]:
    return {"place": one.place, "reason": one.reason, "bytes": one.bytes, "is_file": one.is_file}


def _left(removal: Removal | None) -> dict[str, str]:
    """Return why what could go was not removed, by place."""
    return {one.place: why for one, why in (*removal.stays, *removal.failed)} if removal else {}


def _print_garbage(store: Store, found: Sequence[Garbage], removal: Removal | None) -> None:
    gone = removal.removed if removal else tuple(found)
    reasons: dict[str, list[Garbage]] = {}
    for one in gone:
        reasons.setdefault(one.reason, []).append(one)
    rows = [
        {"reason": reason, "entries": len(some), "bytes": sum(one.bytes for one in some)}
        for reason, some in reasons.items()
    ]
    total = size_text(sum(one.bytes for one in gone))
    print_rows(rows, {"bytes": size_text}, f"{'removed' if removal else 'can go'}: {total} in {store.url}")
    for one in gone if removal else gone[:_LISTED]:  # what is removed cannot be listed later
        print(f"  {store.files.for_people(one.place)}")
    if len(gone) > _LISTED and not removal:
        print(f"  … and {len(gone) - _LISTED} more (--json lists all)")
    for place, why in _left(removal).items():
        print(f"not removed: {store.files.for_people(place)}: {why}")
    if gone and not removal:
        print("nothing was removed; --yes removes it")


def _print_foreign(store: Store, there: Inventory) -> None:
    """Names what lies in the store and is not its own."""
    for place in there.foreign[:_LISTED]:
        print(f"left alone: {store.files.for_people(place)}: not the store's")
    if len(there.foreign) > _LISTED:
        print(f"left alone: … and {len(there.foreign) - _LISTED} more (--json lists all)")


def _needed(files: Sequence[Path], overrides: Sequence[str]) -> Needed:
    """What the sweeps' runs are made of."""
    from flare_ray.plan.grid import expand
    from flare_ray.plan.search import questions

    sweeps = _loaded(files, overrides)
    grids = [expand(sweep) for sweep in sweeps]
    works = [work for grid in grids for work in (*grid.runs, *grid.bases, *grid.corpora)]
    searched = [run for sweep in sweeps for question in questions(sweep) for run in question.examples]
    corpora = [corpus for grid in grids for corpus in grid.corpora]
    corpora += [corpus for run in searched for corpus in run.corpora]
    return Needed(
        fingerprints={work.fingerprint for work in (*works, *corpora)},
        translators={corpus.translator_key for corpus in corpora},
        searching={sweep.name for sweep in sweeps if sweep.searches},
    )


def _verify(store: Store, kinds: list[str] | None, repair: bool, as_json: bool) -> int:
    if repair:
        require_identity(store.files)
    if kinds:
        _check_kinds(kinds, Inventory.of(store))
    checked = verify(store, kinds=kinds, scores=lambda kind, name: _score_problem(store, kind, name))
    moved = quarantine(store, checked.findings) if repair else {}
    if as_json:
        print(json_text({"storage": store.url, **asdict(checked), "moved": moved}))
    else:
        _print_checked(store, checked, moved, repair)
    return 1 if any(finding.entry not in moved for finding in checked.findings) else 0


def _score_problem(store: Store, kind: str, fingerprint: str) -> str | None:
    """Return what is wrong with a run's scores, by its predictions; None for other kinds and tasks not known here."""
    from flare_ray.commands.gather import checked_record

    if kind != "runs":
        return None
    name = store.record(kind, fingerprint).get("task")
    if not isinstance(name, str) or name not in registry.names("tasks"):
        return None
    try:
        return checked_record(store, fingerprint, registry.load("tasks", name))[1]
    except Damaged as error:
        return str(error)
    except FileNotFoundError:  # removed meanwhile
        return None


def _print_checked(store: Store, checked: Checked, moved: dict[str, str], repair: bool) -> None:
    for finding in checked.findings:
        print(f"{finding.place}: {finding.what}")
    for entry, place in moved.items():
        print(f"moved: {entry} → {place}")
    looked = f"{checked.records} records, {checked.files} files, {size_text(checked.bytes)} in {store.url}"
    damaged = len({finding.entry for finding in checked.findings})
    print(f"{looked}: {f'{damaged} damaged' if damaged else 'all whole'}")
    if damaged and not repair:
        print("--repair moves what is damaged to quarantine/; the next sweep makes it again")


def _opened(
    storage: str | None, sweeps: Path | Sequence[Path] | None, overrides: Sequence[str] | None
) -> Store:
    """The store to look at. Raises InputError when none is named, several are, or nothing is there; StoreAway."""
    files = [sweeps] if isinstance(sweeps, Path) else list(sweeps or [])
    urls = {storage} if storage is not None else {sweep.storage for sweep in _loaded(files, overrides or [])}
    if len(urls) != 1:
        found = f"several: {', '.join(sorted(urls))}" if urls else "neither a storage nor --sweep FILE"
        raise InputError("store", [Problem("STORAGE", found, "one folder or URL")])
    (url,) = urls
    try:
        absolute_storage(url)
    except ValueError as error:
        raise InputError("store", [Problem("STORAGE", repr(url), str(error))]) from error
    store = Store(url)
    if not store.files.exists(""):
        found = f"{url!r}: nothing is there"
        raise InputError("store", [Problem("STORAGE", found, "where a sweep keeps its work")])
    return store


def _loaded(files: Sequence[Path], overrides: Sequence[str]) -> list[Any]:
    """The sweeps. Raises InputError with the problems of all."""
    from flare_ray.plan.load import load_sweep

    loaded: list[Any] = []
    problems: list[Problem] = []
    for file in files:
        try:
            loaded.append(load_sweep(file, overrides))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(", ".join(map(str, files)), problems)
    return loaded
