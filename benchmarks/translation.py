"""What our translation gains over a plain loop of `generate`, and what a second process adds to it.

    python benchmarks/translation.py [--target qtu] [--count 900] [--rows 8] [--rounds 3]
    python benchmarks/translation.py --model facebook/nllb-200-distilled-600M --texts en.txt --gold sw.txt --target sw

The plain loop takes rows in the corpus's order, a fixed number at a time, padded to the maximum length, as the
paper's authors released it. All contenders translate the same texts with the same model in one process on as many
threads; they take turns, and the median of the rounds counts. On a CPU the clock is the process's own CPU time, which
other load on the machine hardly touches; on a GPU it is wall time. Loading and converting are not counted.

Then pools of one and of more translator processes (`RayPool`, default backend) translate the same texts again and
again, a chunk each time. The clock is wall time, which other load on the machine does touch, and runs over the second
half of the chunks: the processes must have started and loaded their model by then, which takes many seconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from flare_ray import registry
from flare_ray.execution.cluster import connect
from flare_ray.execution.translating import RayPool
from flare_ray.plan.checkpoints import translator
from flare_ray.plan.schema import Resources
from flare_ray.sandbox import world
from flare_ray.store import Store
from flare_ray.translation.backends.base import Backend, Decoding, load
from flare_ray.translation.batching import batches
from flare_ray.translation.memory import Pair
from flare_ray.translation.quality import chrf
from flare_ray.translation.worklist import Chunk, new_folder, write_chunk

WANTED = {"transformers": 3.0, "ctranslate2 int8": 8.0}
"""Least speed against the plain loop."""
Way = Callable[[Sequence[str]], list[str]]


def plain_loop(backend: Any, source: str, target: str, rows: int, padded: int) -> Way:
    """`generate` on every `rows` texts in their order, inputs padded to `padded` tokens."""
    from transformers import GenerationConfig

    tokenizer, model, codes = backend.tokenizer, backend.model, backend.codes
    told = tokenizer.convert_tokens_to_ids(codes.tokens[codes.code(target)])
    settings = GenerationConfig(
        max_new_tokens=backend.max_length + 1,
        forced_bos_token_id=told,
        decoder_start_token_id=backend.config.decoder_start_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )

    @torch.inference_mode()
    def run(texts: Sequence[str]) -> list[str]:
        tokenizer.src_lang = codes.code(source)
        made: list[str] = []
        for start in range(0, len(texts), rows):
            inputs = tokenizer(
                list(texts[start : start + rows]),
                padding="max_length",
                truncation=True,
                max_length=padded,
                return_tensors="pt",
            )
            ids = model.generate(**inputs.to(backend.device), generation_config=settings)
            made += tokenizer.batch_decode(ids, skip_special_tokens=True)
        return made

    return run


def batched(backend: Backend, source: str, target: str, budget: int) -> Way:
    """A backend on batches by length; sorting and tokenising for it are counted."""

    def run(texts: Sequence[str]) -> list[str]:
        made = [""] * len(texts)
        for batch in batches(backend.lengths(texts, source), budget):
            found = backend.translate([texts[index] for index in batch], source, target)
            for index, one in zip(batch, found, strict=True):
                made[index] = one.text
        return made

    return run


def sandbox_texts(target: str, count: int) -> tuple[list[str], list[str]]:
    """English test sentences of the sandbox's tasks, and their gold translations."""
    texts: list[str] = []
    gold: list[str] = []
    for name in ("xnli", "nusax"):
        task = registry.load("tasks", name)
        one, other = (task.read("sandbox", code, "test").table for code in (task.source_language, target))
        for column in task.text_columns:
            texts += one[column].to_pylist()
            gold += other[column].to_pylist()
    return texts[:count], gold[:count]


def lines(file: Path, count: int) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()[:count]


def measured(
    ways: dict[str, Way], texts: Sequence[str], rounds: int, on_gpu: bool
) -> dict[str, tuple[float, list[str]]]:
    """Median seconds of each way, and what it made."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    made: dict[str, list[str]] = {}
    for way in ways.values():
        way(texts[:16])  # the first call of each allocates
    for _ in range(rounds):
        for name, way in ways.items():
            clock = time.perf_counter if on_gpu else time.process_time
            started = clock()
            made[name] = way(texts)
            seconds[name].append(clock() - started)
    return {name: (statistics.median(seconds[name]), made[name]) for name in ways}


def report(results: dict[str, tuple[float, list[str]]], gold: Sequence[str] | None) -> None:
    first, reference = next(iter(results.values()))
    print("| way | sentences/s | ÷ plain loop | wanted | chrF against gold | same text as the plain loop |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, (seconds, made) in results.items():
        score = f"{chrf(made, gold)['score']:.2f}" if gold else "-"
        same = sum(map(str.__eq__, made, reference)) / len(made)
        wanted = f"≥ {WANTED[name]:g}" if name in WANTED else ""
        print(
            f"| {name} | {len(made) / seconds:.1f} | {first / seconds:.1f} | {wanted} | {score} | {same:.1%} |"
        )


def pooled(
    texts: Sequence[str], pair: Pair, settings: dict[str, Any], resources: Resources, chunks: int
) -> float:
    """Texts per second of a pool over the second half of chunks that each have all the texts."""
    marks: list[tuple[float, int]] = []  # when so many texts were done

    def on_progress(facts: dict[str, Any]) -> None:
        marks.append((time.perf_counter(), facts["texts"]))

    with tempfile.TemporaryDirectory(prefix="flare-ray-") as storage:
        store, folder = Store(storage), new_folder(pair)
        places = [
            write_chunk(store, folder, Chunk(f"chunk{number:04}", list(texts), [False] * len(texts)))
            for number in range(chunks)
        ]
        RayPool(storage, resources.model_dump(), on_progress)(pair, settings, places, chunks * len(texts))
    (first, before), (last, after) = marks[chunks // 2 - 1], marks[-1]
    return (after - before) / (last - first)


def scaling(options: argparse.Namespace, texts: Sequence[str], settings: dict[str, Any], chunks: int) -> None:
    """Prints a table. Pools of each size take turns; the median of the rounds counts."""
    os.environ.update(RAY_worker_niceness="0")  # as fast as this process
    connect()
    pair = Pair("0" * 20, options.source, options.target)
    on_gpu = options.device.startswith("cuda")
    rates: dict[int, list[float]] = {count: [] for count in options.translators}
    for _ in range(options.rounds):
        for count, found in rates.items():
            resources = Resources(
                translators=count,
                cpus_per_translator=options.threads,
                gpus_per_translator=1 if on_gpu else 0,
                translation_tokens=options.budget,
            )
            found.append(pooled(texts, pair, settings, resources, chunks))
    least = statistics.median(rates[min(rates)])
    print(
        "\n| translator processes | sentences/s | ÷ the fewest | sentences/s of each round |\n|---:|---:|---:|---|"
    )
    for count, found in rates.items():
        rate = statistics.median(found)
        each = ", ".join(f"{one:.1f}" for one in found)
        print(f"| {count} | {rate:.1f} | {rate / least:.2f} | {each} |")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=next(iter(world.TRANSLATORS)), help="a name, a hub id or a folder")
    parser.add_argument("--texts", type=Path, help="one text in a line; else the sandbox's test sentences")
    parser.add_argument("--gold", type=Path, help="their translations, line by line")
    parser.add_argument("--source", default="eng")
    parser.add_argument("--target", default="qtu")
    parser.add_argument("--count", type=int, default=900, help="texts, the first ones")
    parser.add_argument("--rows", type=int, default=8, help="of a batch of the plain loop")
    parser.add_argument("--max-length", type=int, default=128, help="tokens that the plain loop pads to")
    parser.add_argument("--budget", type=int, default=4096, help="input tokens of the other batches")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--translators", type=int, nargs="*", default=[1, 2], help="sizes of pools")
    parser.add_argument("--pool-seconds", type=float, default=90, help="that a pool of one is to work")
    return parser.parse_args()


def main() -> None:
    """Prints two tables."""
    options = arguments()
    if options.texts:
        texts = lines(options.texts, options.count)
        gold = lines(options.gold, options.count) if options.gold else None
    else:
        texts, gold = sandbox_texts(options.target, options.count)
    checkpoint, ends = translator(options.model), (options.source, options.target)

    def loaded(name: str, precision: Any = "auto") -> Any:
        decoding = Decoding(max_length=options.max_length, precision=precision)
        return load(name, checkpoint, decoding, options.device, options.threads)

    model = loaded("transformers")
    too_long = max(model.lengths(texts, options.source)) > options.max_length
    if too_long:
        raise SystemExit(f"a text has more than {options.max_length} tokens; give a larger --max-length")
    ways = {
        "plain loop": plain_loop(model, *ends, options.rows, options.max_length),
        "transformers": batched(model, *ends, options.budget),
        "ctranslate2 fp32": batched(loaded("ctranslate2", "fp32"), *ends, options.budget),
        "ctranslate2 int8": batched(loaded("ctranslate2", "int8"), *ends, options.budget),
    }
    results = measured(ways, texts, options.rounds, options.device.startswith("cuda"))
    report(results, gold)
    if options.translators:
        settings = {"checkpoint": checkpoint, "backend": "transformers", "beams": 1, "precision": "auto"}
        chunks = max(4, round(options.pool_seconds / results["transformers"][0]))
        scaling(options, texts, settings | {"max_length": options.max_length}, chunks)


if __name__ == "__main__":
    main()
