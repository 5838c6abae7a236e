"""The sandbox's tokenizer: XLM-RoBERTa's own class with a vocabulary learned on the pretraining text.

The text is mostly English, so English words come out whole and distant languages in fragments, as with the
real XLM-R. `tokenizers`' Unigram trainer gives another vocabulary in each process; its BPE trainer does not.
So the pieces are learned by BPE and their log-probabilities counted, which makes a Unigram model of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""Special tokens; the position is the id."""


def pieces(texts: Sequence[str], size: int) -> list[tuple[str, float]]:
    """A Unigram vocabulary of at most `size` entries: special tokens, then pieces with log-probabilities."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    learner = Tokenizer(models.BPE(unk_token=None))
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"),
            pre_tokenizers.Punctuation("isolated"),
        ]
    )
    trainer = trainers.BpeTrainer(vocab_size=size - len(SPECIAL), special_tokens=[], show_progress=False)
    learner.train_from_iterator(texts, trainer)
    counts: Counter[str] = Counter()
    for encoding in learner.encode_batch(list(texts)):
        counts.update(encoding.tokens)
    vocabulary = sorted(learner.get_vocab(), key=lambda piece: learner.token_to_id(piece) or 0)
    total = sum(counts.values()) + len(vocabulary)
    scored = [(piece, math.log((counts[piece] + 1) / total)) for piece in vocabulary]
    return [(token, 0.0) for token in SPECIAL] + scored


def save(texts: Sequence[str], size: int, folder: Path, max_length: int) -> None:
    """Learns the tokenizer and writes it to `folder`, for `AutoTokenizer.from_pretrained`."""
    from transformers import XLMRobertaTokenizer

    tokenizer = XLMRobertaTokenizer(vocab=pieces(texts, size), model_max_length=max_length)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
