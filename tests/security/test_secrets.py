"""Credentials in every form that they come in, and the places where text goes out."""

import json
from pathlib import Path
from typing import Any

import pytest

from flare_ray.errors import InputError, Problem
from flare_ray.execution import provenance
from flare_ray.redaction import has_password, redacted
from flare_ray.store import Store
from flare_ray.tracking.uris import unreachable
from flare_ray.tracking.views import failure_view

SECRET = "pl4nted/+Secret=Value"


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_ACCESS_KEY_ID",
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "MLFLOW_TRACKING_PASSWORD",
        "RAY_AUTH_TOKEN",
        "WANDB_API_KEY",
        "PGPASSWORD",
        "OUR_DB_PASSWORD",
        "AZURE_STORAGE_CONNECTION_STRING",
        "AZURE_STORAGE_KEY",
        "STORAGE_KEY",
        "WANDB_KEY",
        "FERNET_KEY",
        "SENTRY_DSN",
        "apikey",
    ],
)
def test_the_environments_secrets_are_known_by_their_names(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, SECRET)
    assert redacted(f"a {SECRET} b") == "a *** b"
    assert redacted("pl4nted%2F%2BSecret%3DValue") == "***", "as it stands in a URL"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKENIZERS_PARALLELISM", "false"),
        ("RAY_AUTH_TOKEN_PATH", "/root/token"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/root/aws"),
        ("SOME_TOKEN", "short"),
        ("SOME_KEYS", "keyboard"),
        ("SSH_PUBLIC_KEY", "ssh-ed25519"),
        ("MONKEY", "chimpanzee"),
    ],
)
def test_what_is_no_secret_stays(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert redacted(f"a {value} b") == f"a {value} b"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ann:pl4nted@db.example:5432/x",
        "http://pl4nted@mlflow.example",
        "https://b.s3.amazonaws.com/k?X-Amz-Credential=pl4nted&X-Amz-Signature=pl4nted",
        "https://a.blob.core.windows.net/c?sv=1&sig=pl4nted",
        "Authorization: Bearer pl4ntedpl4nted",
        "{'authorization': 'Basic pl4ntedpl4nted'}",
        "+HF_TOKEN=pl4ntedpl4nted",
        "+AZURE_STORAGE_KEY=pl4ntedpl4nted",
        '+    "AWS_SECRET_ACCESS_KEY": "pl4ntedpl4nted",',
        "hf_pl4ntedpl4ntedpl4ntedpl4nted",
        "ghp_pl4ntedpl4ntedpl4ntedpl4nted",
        "-----BEGIN RSA PRIVATE KEY-----\npl4nted\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_what_has_the_form_of_a_secret_goes(text: str) -> None:
    assert "pl4nted" not in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////results/mlflow.db",
        "s3://bucket/study?x=1",
        "abfs://container@account.dfs.core.windows.net/x",
        "_TOKENS: dict[str, int] = {}",
        "token = tokenizer.eos_token",
        "Basic English, and the bearer of good news",
        "models[0].name: found 'x'; wanted y",
        "task-1234567890-1234567890-1234",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redacted(text) == text
    assert not has_password(text)


def test_an_error_shows_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    error = InputError("x", [Problem("a", f"b {SECRET}", f"c {SECRET}")])
    assert "pl4nted" not in str(error)
    assert "pl4nted" not in str(error.problems)


def test_a_failures_file_and_view_show_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    store = Store(str(tmp_path))
    facts: dict[str, Any] = {"error": f"KeyError: {SECRET}", "traceback": f"File x\n  {SECRET}", "at": 1.0}
    store.write_failure("f", facts)
    written = (tmp_path / "failures" / "f.json").read_text()
    assert json.loads(written)["manifest" if "manifest" in written else "error"]
    assert "pl4nted" not in written
    names = ("label", "base", "cell", "model", "task", "language", "method", "variant", "checkpoint")
    record = dict.fromkeys(names, "x") | {"seed": 1, "axes": {}, "settings": {}, "failure": facts}
    assert "pl4nted" not in repr(failure_view(record))


def test_a_failed_translations_report_shows_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes through Ray to the driver, its log and the dashboard."""
    from flare_ray.execution.translating import _failure
    from flare_ray.plan.corpora import corpus
    from flare_ray.plan.schema import Translation

    monkeypatch.setenv("STORAGE_KEY", SECRET)
    work = corpus("nusax", "org/data", "ace", "train", Translation(model="org/any"))
    assert "pl4nted" not in _failure(work, OSError(f"no {SECRET}"))["error"]


def test_a_checkouts_changes_are_kept_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    diff = f"+token = {SECRET!r}\n+WANDB_API_KEY=pl4ntedpl4nted\n+uri: http://ann:pl4nted@mlflow\n"
    monkeypatch.setattr(provenance, "_ask_git", lambda *words: diff)
    monkeypatch.setattr(provenance, "_git", lambda folder: {"git_commit": "1", "git_changed": True})
    kept = provenance.keep_diff(Store(str(tmp_path)))
    (file,) = tmp_path.glob("diffs/*")
    assert kept["git_diff"]["place"].endswith(file.name)
    assert "pl4nted" not in file.read_text()


def test_a_tracking_server_that_is_away_is_named_without() -> None:
    (problem,) = unreachable("http://ann:pl4nted@127.0.0.1:9")
    assert "127.0.0.1:9" in problem.found
    assert "pl4nted" not in str(problem)


def test_a_trials_last_words_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray writes them into files and shows them in its dashboard."""
    from flare_ray.execution import prefetch, trial, worker

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)

    def fails(config: dict[str, Any]) -> None:
        raise ValueError(f"could not sign with {SECRET}")

    monkeypatch.setattr(prefetch, "read_from", lambda *words: None)
    monkeypatch.setattr(worker, "train_loop", fails)
    with pytest.raises(RuntimeError, match="ValueError: could not sign") as error:
        trial._train_loop({"storage": "x"})
    assert "pl4nted" not in str(error.value)
    assert error.value.__suppress_context__
