"""Standard output that is not UTF-8, closed, full, or left by its reader; Ctrl-C: real processes, real streams."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flare_ray.commands.output import json_text
from flare_ray.commands.streams import is_of_output, prepared_streams
from flare_ray.console import tolerant_streams
from tests.commands.boundary import call, program

LOCALES = {
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize(
    "words",
    [("schema", "--markdown"), ("plan", "FILE"), ("plan", "none→.yaml"), ("report", "FILE")],
    ids=" ".join,
)
def test_letters_that_the_terminal_has_not_are_replaced(
    locale: str, words: tuple[str, ...], study: Path
) -> None:
    """And the sweep file is read as UTF-8 whatever the locale is."""
    study.write_text(study.read_text() + "# Präsens →\n", encoding="utf-8")
    given = [str(study) if word == "FILE" else word for word in words]
    done = program(*given, env=LOCALES[locale])
    assert done.returncode == (2 if "none→.yaml" in words else 0), done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Error" not in done.stderr


def test_doctor_names_such_a_terminal(study: Path) -> None:
    done = program("doctor", env=LOCALES["latin-1"])
    assert b"letters of the terminal: iso8859-1" in done.stdout
    assert b"PYTHONIOENCODING=utf-8" in done.stdout


@pytest.mark.parametrize(
    "words",
    [("plan", "FILE"), ("plan", "FILE", "--json"), ("report", "FILE"), ("schema",), ("--help",)],
    ids=" ".join,
)
def test_a_reader_that_leaves_ends_it_quietly(words: tuple[str, ...], study: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    given = [str(study) if word == "FILE" else word for word in words]
    with os.fdopen(write, "wb") as stream:
        done = program(*given, stdout=stream)
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")
@pytest.mark.parametrize(
    "words", [("plan", "FILE"), ("schema",), ("store", "ls", "--sweep", "FILE")], ids=" ".join
)
def test_output_on_a_full_disk_is_named(words: tuple[str, ...], study: Path) -> None:
    given = [str(study) if word == "FILE" else word for word in words]
    with open("/dev/full", "wb") as stream:
        done = program(*given, stdout=stream)
    assert done.returncode == 75
    assert b"standard output: found OSError: No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("closed", [1, 2])
def test_streams_that_are_closed_from_the_start(closed: int, study: Path) -> None:
    done = program("plan", study, preexec_fn=lambda: os.close(closed))
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


@pytest.mark.slow  # MLflow's database
def test_who_watches_a_sweep_does_not_end_it(study: Path, tmp_path: Path) -> None:
    """All is finished but for one failed search of a place: what is printed last decides nothing."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as stream:
        done = program("run", study, stdout=stream)
    assert (done.returncode, done.stderr.count(b"Traceback")) == (0, 0)
    assert (tmp_path / "results" / "reports" / "small" / "report.md").exists()


def test_writes_that_fail_are_swallowed_only_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Broken())
    with tolerant_streams():
        print("one")
        sys.stdout.writelines(["two"])
    with pytest.raises(OSError, match="standard output") as caught, prepared_streams():
        print("three")
    assert is_of_output(caught.value)
    assert isinstance(sys.stdout, Broken), "what it was before"


@pytest.mark.parametrize("command", ["plan", "report", "doctor"])
def test_ctrl_c_leaves_no_traceback(command: str, study: Path) -> None:
    """At whatever moment it comes once the command is at work."""
    code = (
        "import flare_ray.study as s, os, signal, time\n"
        "s.Study.open = classmethod(lambda *_, **__: (print('at work', flush=True), time.sleep(60)))\n"
        "from flare_ray.cli import app; app()"
    )
    root = Path(call.__globals__["cli"].__file__).parent.parent
    process = subprocess.Popen(
        [sys.executable, "-c", code, command, str(study)],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"at work\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in errors


def test_ctrl_c_while_it_loads_leaves_no_traceback(tmp_path: Path) -> None:
    """The console script's own module: what it loads is interrupted here as by a signal."""
    (tmp_path / "numpy.py").write_text("raise KeyboardInterrupt")
    root = Path(call.__globals__["cli"].__file__).parent.parent
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
    done = subprocess.run(
        [sys.executable, "-m", "flare_ray", "plan"], env=env, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, b"")


@pytest.mark.parametrize("module", ["flare_ray", "flare_ray.sweep"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_signal_ends_it_alike_while_it_loads(
    number: signal.Signals, module: str, tmp_path: Path
) -> None:
    (tmp_path / "typer.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(60)")
    root = Path(call.__globals__["cli"].__file__).parent.parent
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
    process = subprocess.Popen(
        [sys.executable, "-m", module, "plan"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"loading\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, b"")


def test_numbers_that_json_has_not_are_null() -> None:
    value = {
        "a": float("nan"),
        "b": [float("-inf"), 1.5, None, True, 10**400],
        "c": ({"d": float("inf")}, "x"),
    }
    found = json.loads(json_text(value), parse_constant=lambda name: pytest.fail(name))
    assert found == {"a": None, "b": [None, 1.5, None, True, 10**400], "c": [{"d": None}, "x"]}
