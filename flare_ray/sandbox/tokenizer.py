"""The sandbox's tokenizers: each family's own class with a vocabulary learned on the pretraining text.

The text is mostly English, so English words come out whole and distant languages in fragments, as with real
multilingual models. `tokenizers`' Unigram trainer gives another vocabulary in each process; its BPE trainer
does not. So all pieces are learned by BPE, and the Unigram families (XLM-R, mT5) get their counted
log-probabilities. Printable ASCII is always in, so that prompts and markers are never unknown.

In the BPE families (Llama, Gemma, NLLB) a word has the same pieces with and without a blank before it: an
answer that stands alone must not fall to pieces that the text never shows.
"""

from __future__ import annotations

import json
import math
import string
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

XLM_R_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
T5_SPECIAL = ("<pad>", "</s>", "<unk>")
LLAMA_SPECIAL = ("<unk>", "<s>", "</s>", "<pad>")
GEMMA_SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
NLLB_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
"""Special tokens of the families; the position is the id."""
SENTINELS = 20
BLANK = "▁"
ALPHABET = string.ascii_letters + string.digits + string.punctuation
"""Characters that every tokenizer knows, whatever the text."""


def _learned(texts: Sequence[str], size: int, blanks: bool) -> Any:
    """A BPE tokenizer of at most `size` pieces; with `blanks`, a word's first piece carries its blank."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    steps: list[Any] = [pre_tokenizers.WhitespaceSplit()]
    if blanks:
        steps.append(pre_tokenizers.Metaspace(replacement=BLANK, prepend_scheme="always"))
    learner = Tokenizer(models.BPE(unk_token=None))
    learner.pre_tokenizer = pre_tokenizers.Sequence([*steps, pre_tokenizers.Punctuation("isolated")])
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[],
        show_progress=False,
        initial_alphabet=sorted({*ALPHABET, BLANK}) if blanks else sorted(ALPHABET),
    )
    learner.train_from_iterator(texts, trainer)
    return learner


def _in_order(learner: Any) -> list[str]:
    return sorted(learner.get_vocab(), key=lambda piece: learner.token_to_id(piece) or 0)


def unigram(texts: Sequence[str], size: int, special: Sequence[str]) -> list[tuple[str, float]]:
    """A Unigram vocabulary of at most `size` entries: special tokens, then pieces with log-probabilities."""
    learner = _learned(texts, size - len(special), blanks=True)
    counts: Counter[str] = Counter()
    for encoding in learner.encode_batch(list(texts)):
        counts.update(encoding.tokens)
    vocabulary = _in_order(learner)
    total = sum(counts.values()) + len(vocabulary)
    scored = [(piece, math.log((counts[piece] + 1) / total)) for piece in vocabulary]
    return [(token, 0.0) for token in special] + scored


def pairs(
    texts: Sequence[str], size: int, special: Sequence[str]
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A BPE vocabulary (piece → id) and its merges: inside words first, then a blank to a word's first piece."""
    learner = _learned(texts, size - len(special), blanks=False)
    merges = [(one, other) for one, other in json.loads(learner.to_str())["model"]["merges"]]
    first: Counter[str] = Counter()
    for encoding in learner.encode_batch([word for text in texts for word in set(text.split())]):
        first[encoding.tokens[0]] += 1
    pieces = _in_order(learner)
    merges += [(BLANK, piece) for piece in pieces if first[piece]]
    pieces += [BLANK, "\n", *(BLANK + piece for piece in pieces if first[piece])]
    return {piece: index for index, piece in enumerate([*special, *pieces])}, merges


def _xlm_roberta(texts: Sequence[str], size: int, **options: Any) -> Any:
    from transformers import XLMRobertaTokenizer

    return XLMRobertaTokenizer(vocab=unigram(texts, size, XLM_R_SPECIAL), **options)


def _t5(texts: Sequence[str], size: int, **options: Any) -> Any:
    from transformers import T5Tokenizer

    return T5Tokenizer(vocab=unigram(texts, size, T5_SPECIAL), extra_ids=SENTINELS, **options)


def _llama(texts: Sequence[str], size: int, **options: Any) -> Any:
    from transformers import LlamaTokenizer

    vocabulary, merges = pairs(texts, size, LLAMA_SPECIAL)
    return LlamaTokenizer(vocab=vocabulary, merges=merges, pad_token="<pad>", add_bos_token=True, **options)


def _gemma(texts: Sequence[str], size: int, **options: Any) -> Any:
    from transformers import GemmaTokenizer

    vocabulary, merges = pairs(texts, size, GEMMA_SPECIAL)
    return GemmaTokenizer(vocab=vocabulary, merges=cast(Any, merges), add_bos_token=True, **options)


def _nllb(texts: Sequence[str], size: int, **options: Any) -> Any:
    from transformers import NllbTokenizer

    from flare_ray.sandbox import world

    codes = [world.flores(folder) for folder in world.folders()]
    vocabulary, merges = pairs(texts, size, NLLB_SPECIAL)
    return NllbTokenizer(
        vocab=vocabulary,
        merges=cast(Any, merges),
        additional_special_tokens=codes,
        src_lang=codes[0],
        tgt_lang=codes[1],
        **options,
    )


_MAKERS: dict[str, Callable[..., Any]] = {
    "xlm_roberta": _xlm_roberta,
    "mt5": _t5,
    "llama": _llama,
    "gemma2": _gemma,
    "nllb": _nllb,
}


def make(family: str, texts: Sequence[str], size: int, folder: Path, max_length: int) -> Any:
    """Learns the tokenizer of a family and writes it to `folder`; returns it as `AutoTokenizer` loads it."""
    from transformers import AutoTokenizer

    tokenizer = _MAKERS[family](texts, size, model_max_length=max_length)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)
