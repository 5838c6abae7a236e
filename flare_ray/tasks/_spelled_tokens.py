"""Local rows in which a text spells a special token: they were read otherwise than other text, and are so no more.

The files' bytes are searched for the special tokens of common tokenizers, as plain text and as JSON may escape them,
so that a plan parses no rows for it. A file of columns in a compressed form is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from flare_ray.errors import InputError
from flare_ray.plan.checkpoints import files_digest, is_local
from flare_ray.tasks._remembered import remembered

KIND = "special tokens"
_VERSION = "1"
_BLOCK = 1 << 24
_LONGEST = 64  # bytes of a spelled token, escapes counted
_OPEN, _CLOSE = (
    rb"(?:<|\xef\xbc\x9c|\\u003[cC]|\\u[fF]{2}1[cC])",
    rb"(?:>|\xef\xbc\x9e|\\u003[eE]|\\u[fF]{2}1[eE])",
)
_NAMES = (
    rb"\\?/?s|pad|unk|mask|bos|eos|cls|sep|extra_id_\d{1,3}|(?:start|end)_of_(?:turn|image)|"
    rb"\|(?:begin_of_text|end_of_text|endoftext|eot_id|eom_id|im_start|im_end|pad|unk|bos|eos|(?:start|end)_header_id|"
    rb"finetune_right_pad_id|python_tag|system|user|assistant|end|reserved_special_token_\d{1,3})\|"
)
SPELLED = re.compile(rb"%s(?:%s)%s|\[(?:CLS|SEP|PAD|MASK|UNK|BOS|EOS)\]" % (_OPEN, _NAMES, _CLOSE))
"""Special tokens of BERT, XLM-R, mT5, Llama, Gemma and their like, in UTF-8 or JSON."""


def spelled_tokens(task: Any, source: str, language: str) -> list[str]:
    """Return `special tokens` where a local language's rows, or the English beside them, spell one; else nothing."""
    if not is_local(source):
        return []
    try:
        translations = (
            task.translation_file(source, language, split) for split in ("train", "validation", "test")
        )
        files = [*task.files(source, language), *(file for file in translations if file)]
        spelled = any(_spells(file) for file in dict.fromkeys(files))
    except (OSError, InputError):  # reported with the data
        return []
    return [KIND] if spelled else []


def _spells(file: Path) -> bool:
    key = {"check": KIND, "version": _VERSION, "file": files_digest([file])}
    return bool(remembered(key, partial(_searched, file)))


def _searched(file: Path) -> bool:
    return any(SPELLED.search(block) for block in _blocks(file))


def _blocks(file: Path) -> Iterator[bytes]:
    """Yield a file's content in blocks that overlap by the longest spelled token."""
    if file.suffix == ".parquet":
        yield from _parquet_blocks(file)
        return
    tail = b""
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            yield tail + block
            tail = block[-_LONGEST:]


def _parquet_blocks(file: Path) -> Iterator[bytes]:
    """Yield the values of a parquet file's columns, as JSON writes them."""
    import json

    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as table:
        for batch in table.iter_batches():
            yield json.dumps(batch.to_pylist(), ensure_ascii=False, default=str).encode()
