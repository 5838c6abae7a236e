"""Text is text: a `</s>` in a row is encoded as its characters, and never as the token of that name.

    encode_text(tokenizer, ["a </s> b"])["input_ids"]  # one end token, which the template sets

`split_special_tokens` alone is enough for BPE. A Unigram vocabulary (XLM-R, mT5) has `</s>` as a piece like any
other, and a text with these characters would still become that piece: there they are cut apart first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


def encode_text(tokenizer: Any, *texts: Any, **settings: Any) -> Any:
    """Return the encoding of texts, or of pairs of texts, without special tokens but those of the template.

    tokenizer: of transformers. settings: as the tokenizer takes them. Texts that spell no special token are encoded
    as `tokenizer(*texts, **settings)` encodes them.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # sentencepiece itself makes no control tokens of text
        return tokenizer(*texts, split_special_tokens=True, **settings)
    with spelled_tokens_cut(backend, tokenizer.all_special_tokens):
        return tokenizer(*texts, split_special_tokens=True, **settings)


@contextmanager
def spelled_tokens_cut(backend: Any, names: Iterable[str]) -> Iterator[None]:
    """Have a tokenizer of the `tokenizers` library cut special tokens that a text spells apart, for a while.

    names: special tokens, beside those that the tokenizer itself knows as such.
    """
    former = backend.pre_tokenizer
    cut = _cutting(backend, names)
    if cut is None:
        yield
        return
    backend.pre_tokenizer = cut
    try:
        yield
    finally:
        backend.pre_tokenizer = former


def _cutting(backend: Any, names: Iterable[str]) -> Any:
    """Return the tokenizer's pre-tokenizer, followed by a cut behind the first character of special tokens.

    None where no cut is needed: merges of BPE never make a special token.
    """
    from tokenizers import Regex, models, pre_tokenizers

    model = backend.model
    if isinstance(model, models.BPE) and not model.ignore_merges:
        return None
    added = (token.content for token in backend.get_added_tokens_decoder().values() if token.special)
    special = sorted(name for name in {*map(str, names), *added} if len(name) > 1)
    if not special:
        return None
    pattern = "|".join(f"{re.escape(name[0])}(?={re.escape(name[1:])})" for name in special)
    cut = pre_tokenizers.Split(Regex(pattern), "merged_with_previous")
    former = backend.pre_tokenizer
    return cut if former is None else pre_tokenizers.Sequence([former, cut])
