"""What a real sweep shows to other machines, and what it writes of the secrets around it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security.conftest import Watched

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


def test_nothing_that_a_local_sweep_starts_listens_beyond_this_machine(watched: Watched) -> None:
    assert watched.code == 0, watched.output
    assert {"gcs_server", "raylet"} <= {name for name, _ in watched.listening}
    open_ones = {(name, ip) for name, ip in watched.listening if ip not in LOOPBACK}
    assert not open_ones


def test_its_ray_does_not_answer_without_the_token(watched: Watched) -> None:
    assert watched.open_to_strangers == {False}


def test_no_secret_of_the_environment_is_in_any_file_or_line(watched: Watched) -> None:
    assert watched.code == 0, watched.output
    assert (watched.storage / "mlflow.db").exists()
    looked_at = 0
    found = []
    for file in files(watched):
        content = file.read_bytes()
        looked_at += 1
        found += [(str(file), name) for name, value in watched.planted.items() if value.encode() in content]
    found += [("the output", name) for name, value in watched.planted.items() if value in watched.output]
    assert looked_at > 30
    assert not found


def files(watched: Watched) -> Iterator[Path]:
    for folder in (watched.storage, watched.temporary):
        yield from (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def test_a_name_leaves_neither_the_storage_nor_its_place_in_a_page(watched: Watched) -> None:
    assert watched.code == 0, watched.output
    around = {path.name for path in watched.file.parent.iterdir()}
    assert around == {"results", "sweep.yaml", "output"}
    command = [sys.executable, "-c", "from flare_ray.cli import app; app()", "report", str(watched.file)]
    out = watched.storage / "page"
    subprocess.run([*command, "--format", "html", "--out", str(out)], check=True, capture_output=True)
    (page,) = out.rglob("*.html")
    text = page.read_text()
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert" not in text
