"""Which code made a result, where there is a checkout and where there is none; what other code tries again."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from flare_ray.execution import provenance
from flare_ray.execution.failed import is_given_up
from flare_ray.store import Store


@pytest.fixture
def no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> str:
        raise subprocess.CalledProcessError(128, "git")

    monkeypatch.setattr(provenance, "_ask_git", refuse)


def test_a_job_knows_the_commit_that_it_was_submitted_from(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    here = provenance.provenance()
    monkeypatch.setenv(provenance.CHECKOUT, provenance.checkout())
    request.getfixturevalue("no_git")
    assert provenance.provenance() == here

    told = json.loads(provenance.checkout()) | {"git_commit": "c0ffee", "git_changed": False}
    monkeypatch.setenv(provenance.CHECKOUT, json.dumps(told))
    assert provenance.provenance()["git_commit"] == "c0ffee"
    monkeypatch.setenv(provenance.CHECKOUT, json.dumps(told | {"code": "another"}))
    assert provenance.provenance()["git_commit"] is None, "what runs is not what was submitted"


def test_a_bug_is_left_alone_until_the_code_is_another(no_git: None, tmp_path: Path) -> None:
    """Without git too: a job has none."""
    store, now = Store(str(tmp_path)), provenance.provenance()

    def left_alone(kind: str, then: dict[str, Any], later: dict[str, Any]) -> bool:
        store.write_failure("f1", {"kind": kind, "error": "no", "provenance": then, "at": 1.0})
        return is_given_up(store, "f1", later)

    assert now["git_commit"] is None
    assert left_alone("bug", now, now)
    assert not left_alone("lost", now, now)
    assert not left_alone("bug", now, now | {"code": "repaired"})
    assert not left_alone("bug", now, now | {"versions": {}})
    assert not left_alone("bug", now | {"git_changed": True}, now | {"git_changed": True})
    assert not left_alone("bug", {}, {}), "nothing is known of either"
