"""What the store's tests write, and how they look at it."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

RECORD = {
    "metrics": {"macro_f1": 61.25},
    "label": "tiny/nusax/ace/naïve — 汉字",
    "history": [{"epoch": 1}],
    "x": None,
}


def key(word: str, letters: int = 20) -> str:
    """A fingerprint, or a token, that stands for a word."""
    return blake2b(word.encode(), digest_size=letters // 2).hexdigest()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def write_files(folder: Path, letter: str, size: int = 2000) -> Path:
    """A record's files, all of one letter: a mixture of two writers' files would have two."""
    for name in ("a.bin", "deep/b.bin", "deep/er/c.bin"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(letter.encode() * size)
    return folder
