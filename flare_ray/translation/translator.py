"""One process that translates: a loaded model, and chunks of a worklist to be done.

Texts of a chunk are sorted by length and put into batches of a number of tokens. What is done is saved every half
minute or so as a shard of whole batches: a process that dies loses no more than that, and whoever takes over its
chunk forms the same batches and continues behind the last one saved.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from flare_ray.store import Store
from flare_ray.translation import pieces, sentences
from flare_ray.translation.backends.base import Backend, Decoding, Translated
from flare_ray.translation.batching import batches
from flare_ray.translation.memory import Entry, Pair, shard_texts, write_shard
from flare_ray.translation.quality import flags
from flare_ray.translation.worklist import read_chunk


class Translator:
    """Translates chunks of one pair.

    settings: `checkpoint`, `backend` and the decoding (plan/corpora.py). batch_tokens: input tokens of a batch,
    padding counted. save_every: seconds. stop_requested: asked before every batch, so it must answer at once.
    """

    def __init__(
        self,
        store: Store,
        pair: Pair,
        settings: Mapping[str, Any],
        batch_tokens: int = 4096,
        device: str = "cpu",
        threads: int = 1,
        save_every: float = 30,
        stop_requested: Callable[[], bool] = lambda: False,
    ):
        from flare_ray.translation.backends.base import load

        self.store, self.pair, self.batch_tokens, self.save_every = store, pair, batch_tokens, save_every
        self.stop_requested = stop_requested
        decoding = Decoding(settings["beams"], settings["max_length"], settings["precision"])
        self.backend: Backend = load(settings["backend"], settings["checkpoint"], decoding, device, threads)
        self.limit = min(self.backend.limit, self.backend.max_length)
        self.by_sentence = settings.get("split") == "sentence"

    def chunk(self, place: str) -> dict[str, int]:
        """Translates what is missing of a chunk into the store; counts `texts` and `tokens` translated now.

        left: batches that were not looked at, when it was asked to stop.
        """
        chunk = read_chunk(self.store, place)
        lengths = self.backend.lengths(chunk.texts, self.pair.source)
        done: list[Entry] = []
        counts = {"texts": 0, "tokens": 0, "left": 0}
        units = batches(lengths, self.batch_tokens)
        saved, since = self._saved(chunk.name), time.monotonic()
        for number, unit in enumerate(units):
            if self.stop_requested():
                counts["left"] = len(units) - number
            missing = [i for i in unit if not chunk.known[i] and chunk.texts[i] not in saved]
            if missing and not counts["left"]:
                done += self.entries([chunk.texts[index] for index in missing])
            if counts["left"] or number + 1 == len(units) or time.monotonic() - since >= self.save_every:
                if done:
                    write_shard(self.store, self.pair, chunk.name, done)
                counts["texts"] += len(done)
                counts["tokens"] += sum(entry.tokens for entry in done)
                done, since = [], time.monotonic()
            if counts["left"]:
                break
        return counts

    def _saved(self, name: str) -> set[str]:
        """Texts of a chunk that a process before this one saved."""
        mine = [shard for shard in self.store.names(self.pair.folder) if shard.startswith(f"{name}-")]
        return {text for shard in mine for text in shard_texts(self.store, self.pair, shard)}

    def entries(self, texts: Sequence[str]) -> list[Entry]:
        """Translations of a batch of texts, in their order."""
        lengths = self.backend.lengths(texts, self.pair.source)
        cuts = [self._cut(text, length) for text, length in zip(texts, lengths, strict=True)]
        parts = [part for cut in cuts for part, _ in cut]
        translated = iter(self._translate(parts))
        return [
            self._entry(text, cut, [next(translated) for _ in cut])
            for text, cut in zip(texts, cuts, strict=True)
        ]

    def _cut(self, text: str, length: int) -> list[pieces.Piece]:
        """Return the pieces that are translated by themselves. length: tokens of the text."""
        if self.by_sentence:
            return sentences.fitting(text, self._fits)
        return [(text, "")] if length <= self.limit else pieces.cut(text, self._fits)

    def _entry(self, text: str, cut: list[pieces.Piece], made: list[Translated]) -> Entry:
        texts, spaces = [one.text for one in made], [space for _, space in cut]
        join = sentences.joiner(self.pair.target) if self.by_sentence else pieces.join
        whole = join(texts, spaces)
        truncated = any(one.truncated for one in made)
        return Entry(text, whole, sum(one.tokens for one in made), tuple(flags(text, whole, truncated)))

    def _translate(self, parts: Sequence[str]) -> Iterator[Translated]:
        """Batches again: the pieces of long texts are more than the texts."""
        lengths = self.backend.lengths(parts, self.pair.source)
        found: dict[int, Translated] = {}
        for batch in batches(lengths, self.batch_tokens):
            made = self.backend.translate(
                [parts[index] for index in batch], self.pair.source, self.pair.target
            )
            found.update(zip(batch, made, strict=True))
        return (found[index] for index in range(len(parts)))

    def _fits(self, text: str) -> bool:
        return self.backend.lengths([text], self.pair.source)[0] <= self.limit
