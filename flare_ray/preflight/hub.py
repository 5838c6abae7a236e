"""What a sweep reads from the Hugging Face hub: whether it is there, and open to this account.

What is in the store already, or in this machine's hub cache, is not asked for. HF_HUB_OFFLINE is respected.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from flare_ray import registry
from flare_ray.execution.prefetch import Split, Wanted
from flare_ray.models._gates import is_here
from flare_ray.preflight.findings import Finding, bad, warning
from flare_ray.store import shelf

Repository = Literal["model", "dataset"]
_SECONDS = 5.0
_AT_ONCE = 8
_FILES = {"model": "config.json", "dataset": "README.md"}
"""What is asked for: a file, as a gated repository's description is open to all."""


def hub_findings(wanted: Wanted, licences: Mapping[str, str]) -> list[Finding]:
    """About every model and data set that would be fetched. licences: page of a gated model's licence."""
    asked: list[tuple[Repository, str]] = [("model", one) for one in wanted.models if not is_here(one)]
    names = dict.fromkeys(split.data for split in wanted.splits if not _is_kept(split))
    asked += [("dataset", one) for one in names]
    if not asked:
        return []
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return list(_offline(asked))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda one: _ask(one[0], one[1], licences), asked))


def _offline(asked: Iterable[tuple[Repository, str]]) -> Iterable[Finding]:
    for kind, name in asked:
        if kind == "model":
            found = "HF_HUB_OFFLINE is set, and it is neither in the store nor in this machine's cache"
            yield bad(name, found, "start once online: it is kept in the store; or a local folder")
        else:
            found = "HF_HUB_OFFLINE is set: read from this machine's cache, if it is there"
            yield warning(name, found, "start once online with resources.prefetch: true; or a local folder")


def _is_kept(split: Split) -> bool:
    task = registry.load("tasks", split.task)
    return shelf.kept("rows", task.fetched_as(split.data, split.language, split.split))


def _ask(kind: Repository, reference: str, licences: Mapping[str, str]) -> Finding:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, _, revision = reference.partition("@")
    url = hf_hub_url(name, _FILES[kind], repo_type=kind, revision=revision or None)
    try:
        get_hf_file_metadata(url, timeout=_SECONDS)
    except EntryNotFoundError:
        pass  # the repository is there, and open
    except GatedRepoError:
        page = licences.get(reference) or f"https://huggingface.co/{name}"
        return bad(
            reference,
            "gated, and this account has not accepted its licence",
            f"accept it at {page}, `hf auth login` or HF_TOKEN; or a local folder",
        )
    except RevisionNotFoundError:
        return bad(reference, f"the hub has no revision {revision!r} of it", "one that is there")
    except RepositoryNotFoundError:
        found = "not on the hub, or private and closed to this account"
        return bad(reference, found, "the right name, a token that may read it (HF_TOKEN), or a local folder")
    except Exception as error:  # whatever networks do
        found = f"the hub does not answer: {type(error).__name__}"
        remedy = "HF_ENDPOINT, a proxy, or a local folder"
        if kind == "model":
            return bad(reference, found, remedy, passes=True)
        return warning(reference, found, remedy)
    return Finding(reference, "on the hub, and open to this account")
