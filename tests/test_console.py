"""Output that cannot be written ends nothing: real processes on a full disk, a closed pipe, closed files."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from flare_ray.console import Tolerant, tolerate

PROGRAM = """
import sys
from pathlib import Path
from rich.console import Console
from flare_ray.console import tolerant_streams

console = Console()
print("before", flush=False)
with tolerant_streams():
    for number in range(3):
        print("x" * 100_000, "→")
        console.print("[b]bold[/b] →")
        print("to standard error", file=sys.stderr)
Path(sys.argv[1]).write_text("done")
"""

FAULTS = {
    "full disk": "{} > /dev/full",
    "both on a full disk": "{} > /dev/full 2>&1",
    "closed pipe": "{} | head -c 1",
    "closed": "{} >&-",
    "all closed": "{} <&- >&- 2>&-",
    "letters": "PYTHONIOENCODING=ascii {}",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_work_goes_on(fault: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    line = FAULTS[fault].format(f"{sys.executable} {program} {tmp_path / 'done'}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHONUNB")}
    command = ["bash", "-o", "pipefail", "-c", line]
    found = subprocess.run(command, env=environment, capture_output=True, timeout=60)
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "done").read_text() == "done"
    assert b"Traceback" not in found.stderr
    assert b"Exception ignored" not in found.stderr
    if fault in ("full disk", "closed pipe"):
        assert found.stderr.count(b"cannot be written") == 1
    if fault == "letters":
        assert found.stdout.count(b"bold ?") == 3


def test_a_write_that_works_again_is_seen() -> None:
    class Sometimes(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            return super().write(text)

    inner = Sometimes()
    stream = Tolerant(inner)
    print("lost", file=stream)
    inner.full = False
    print("kept", file=stream)
    assert inner.getvalue() == "kept\n"


def test_a_console_of_ones_own_cannot_fail_either() -> None:
    stream = io.StringIO()
    console = tolerate(Console(file=stream))
    console.print("one")
    stream.close()
    console.print("two")
