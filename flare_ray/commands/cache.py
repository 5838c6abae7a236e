"""`flare-ray cache ls | clean`: what this machine's cache holds, and removing it. All of it can be made again.

    flare-ray cache ls
    flare-ray cache clean                  # all but the sandbox and what is in use
    flare-ray cache clean --kind source-states --kind store

Exit codes: 0 fine; 1 something could not be removed; 2 the folder holds other files than a cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from flare_ray import registry
from flare_ray.cache import cache_folder
from flare_ray.cache_entries import KINDS, SANDBOX, CacheEntry, entries, foreign, remove
from flare_ray.commands.guard import guarded
from flare_ray.commands.output import json_text
from flare_ray.commands.tables import print_rows, size_text
from flare_ray.errors import InputError, Problem

app = typer.Typer(
    no_args_is_help=True, help="Looks after this machine's cache (FLARE_RAY_CACHE): lists it, removes it."
)
_LISTED = 20
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("ls")
def ls_command(as_json: AsJson = False) -> None:
    """Counts and bytes by kind."""
    raise typer.Exit(guarded(lambda: list_cache(as_json)))


@app.command("clean")
def clean_command(
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help=f"Of {', '.join(KINDS)}. Repeatable; all but {SANDBOX} if left out."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help=f"The {SANDBOX} too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List it and remove nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Removes what can be made again; what a running sweep uses stays."""
    raise typer.Exit(guarded(lambda: _clean(kind or [], everything, dry_run, as_json)))


def cache_rows(listed: Sequence[CacheEntry]) -> list[dict[str, Any]]:
    """Return a row for each kind that has entries: kind, entries, bytes, what it is."""
    kinds = {kind: [entry for entry in listed if entry.kind == kind] for kind in KINDS}
    return [
        {
            "kind": kind,
            "entries": len(some),
            "bytes": sum(entry.bytes for entry in some),
            "what": KINDS[kind],
        }
        for kind, some in kinds.items()
        if some
    ]


def print_cache() -> None:
    """Print the cache's kinds with their sizes."""
    listed = entries(cache_folder())
    total = size_text(sum(entry.bytes for entry in listed))
    print_rows(cache_rows(listed), {"bytes": size_text}, f"{total} in {cache_folder()}")


def cache_facts() -> dict[str, Any]:
    """Return the cache's folder, kinds and foreign files, for programs."""
    cache = cache_folder()
    others = [str(path) for path in foreign(cache)]
    return {"cache": str(cache), "kinds": cache_rows(entries(cache)), "foreign": others}


def list_cache(as_json: bool) -> int:
    """Print the cache's kinds with their sizes, and what is not its own."""
    if as_json:
        print(json_text(cache_facts()))
        return 0
    print_cache()
    for path in foreign(cache_folder())[:_LISTED]:
        print(f"left alone: {path}: not the cache's")
    return 0


def _clean(kinds: Sequence[str], everything: bool, dry_run: bool, as_json: bool) -> int:
    problems = [
        Problem("--kind", repr(kind), registry.wanted(kind, KINDS)) for kind in kinds if kind not in KINDS
    ]
    if problems:
        raise InputError("cache", problems)
    cache = cache_folder()
    chosen = set(kinds or [kind for kind in KINDS if kind != SANDBOX]) | ({SANDBOX} if everything else set())
    listed = [entry for entry in entries(cache) if entry.kind in chosen]
    removed, remaining = (listed, {}) if dry_run else remove(listed)
    freed = sum(entry.bytes for entry in removed)
    if as_json:
        summary = {"cache": str(cache), "removed": not dry_run, "bytes": freed, "kinds": cache_rows(removed)}
        print(json_text({**summary, "kept": {str(path): why for path, why in remaining.items()}}))
    else:
        caption = f"{'can go' if dry_run else 'freed'}: {size_text(freed)} ({freed} bytes) of {cache}"
        print_rows(cache_rows(removed), {"bytes": size_text}, caption)
        for path, why in list(remaining.items())[:_LISTED]:
            print(f"not removed: {path}: {why}")
        if len(remaining) > _LISTED:
            print(f"not removed: … and {len(remaining) - _LISTED} more (--json lists all)")
    return 1 if any("process" not in why for why in remaining.values()) else 0
