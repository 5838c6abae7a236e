"""The Dockerfile, followed without an engine: its instructions, and what of them can be executed here.

Each stage's root is a folder. COPY copies, pip's commands run with the paths of the image laid into that folder, in a
virtual environment that stands for the image's Python. Commands that need root (packages of the system, users) are
left out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
NEEDS_ROOT = ("apt-get ", "useradd ")
_OURS = r"(?<![\w.}])/(build|source|home/ray|usr/local/bin/healthy\.py|torch\.txt|constraints\.txt)"


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Each with its words, continued lines joined, comments left out."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, words = line.partition(" ")
        yield name, words.strip()


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path of the repository out: it lets in only what it names."""
    patterns = (ROOT / ".dockerignore").read_text().split("\n")
    let_in = [one[1:] for one in patterns if one.startswith("!")]
    return not any(path == one or path.startswith(f"{one}/") for one in let_in)


@dataclass
class Build:
    """A build under `place`. arguments: as --build-arg. skipped: commands that were left out; ran: those that ran."""

    place: Path
    arguments: Mapping[str, str]
    values: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    stages: list[tuple[str, Path]] = field(default_factory=list)

    @property
    def python(self) -> Path:
        """Of the environment that stands for the image's."""
        return self.place / "venv/bin/python"

    @property
    def root(self) -> Path:
        """The root folder of the stage that is being built."""
        return self.stages[-1][1]

    def run(self) -> None:
        """Follows the Dockerfile. Raises CalledProcessError for a command that fails."""
        subprocess.run([sys.executable, "-m", "venv", self.place / "venv"], check=True)
        for name, words in instructions((ROOT / "Dockerfile").read_text()):
            if name == "ARG":
                key, _, default = words.partition("=")
                self.values[key] = self.arguments.get(key, default or self.values.get(key, ""))
            elif name == "FROM":
                stage = words.partition(" AS ")[2] or "final"
                self.stages.append((stage, self.place / stage))
                self.root.mkdir()
            elif name == "COPY":
                self._copy(words.split())
            elif name == "RUN":
                self._command(re.sub(r"--mount=\S+\s+", "", words))

    def _copy(self, words: list[str]) -> None:
        source = dict(self.stages)[words.pop(0).partition("=")[2]] if words[0].startswith("--from=") else ROOT
        *paths, target = words
        to = self.root / target.lstrip("/")
        for path in paths:
            if source == ROOT:
                assert not ignored(path), f"COPY {path}: .dockerignore keeps it out"
            found = source / path.lstrip("/")
            if found.is_dir():
                shutil.copytree(found, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                into = to / found.name if target.endswith("/") else to
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(found, into)

    def _command(self, command: str) -> None:
        if any(word in command for word in NEEDS_ROOT):
            self.skipped.append(command)
            return
        here = re.sub(_OURS, lambda found: f"{self.root}/{found[1]}", command)
        path = f"{self.python.parent}:{os.environ['PATH']}"
        env = {"PATH": path, "HOME": os.environ["HOME"], **self.values}
        env |= {
            name: value
            for name, value in os.environ.items()
            if name.startswith(("PIP_", "SSL_", "REQUESTS_"))
        }
        bash = ["bash", "-o", "errexit", "-o", "pipefail", "-c", here]
        done = subprocess.run(bash, env=env, cwd=self.root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{here}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        self.ran.append(command)
