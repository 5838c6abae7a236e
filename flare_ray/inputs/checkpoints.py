"""Local checkpoints: are weights, tokenizer and configuration there, whole, and of the family that is asked for?

transformers makes a tokenizer of five tokens for a folder without one, and loads BERT's weights into any class that
takes them: both train, and give scores. So the folder is looked at before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flare_ray import registry
from flare_ray.errors import Problem
from flare_ray.inputs.findings import Findings
from flare_ray.loading import code_problems
from flare_ray.plan.checkpoints import CONFIG, content_files, is_local, local_path, read_config
from flare_ray.plan.schema import Sweep

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
    "source.spm",
    "vocab.txt",
    "vocab.json",
)
"""Files of which a tokenizer has at least one."""
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_POINTER = b"version https://git-lfs"
_REMEDY_TOKENIZER = "the tokenizer's files beside the weights (tokenizer.save_pretrained)"
_LARGEST_HEADER = 100 << 20
_PICKLES = (b"PK", b"\x80")
"""First bytes of what torch.save writes, in its present and its former format."""
_LAYER = re.compile(r"(?:^|\.)(?:layer|layers|block)\.(\d+)\.")
_EMBEDDINGS = ("word_embeddings.weight", "embed_tokens.weight", "shared.weight")
_WIDTHS = ("hidden_size", "d_model", "embedding_size", "word_embed_proj_dim")


def check_checkpoints(sweep: Sweep, findings: Findings) -> None:
    """Find what is wrong with the local checkpoints of models."""
    for number, model in enumerate(sweep.models):
        if is_local(model.checkpoint):
            where = f"models[{number}].checkpoint"
            folder = local_path(model.checkpoint)
            findings.add(folder_problems(folder, where))
            config = _config(folder)
            findings.add([*_kind_problems(folder, config, where), *_generation_problems(folder, where)])
            findings.add(list(_shape_problems(folder, config, where)))
            findings.add(*family_findings(config, model.family, f"models[{number}].family", model.checkpoint))


def folder_problems(folder: Path, where: str) -> list[Problem]:
    """Return what a checkpoint folder lacks: weights, tokenizer, whole files. where: path into the sweep file."""
    return [*_pointers(folder, where), *_weights(folder, where), *_tokenizer(folder, where)]


def family_findings(
    config: dict[str, Any], family: str, where: str, checkpoint: str
) -> tuple[list[Problem], list[Problem]]:
    """Return problems and warnings about a configuration's `model_type` under a family."""
    kind, known = config.get("model_type"), registry.load("models", family).model_types
    if not isinstance(kind, str) or not known or kind in known:
        return [], []
    families = {name: registry.load("models", name).model_types for name in registry.names("models")}
    right = [name for name, kinds in families.items() if kind in kinds]
    got = f"{family}; {checkpoint} has model_type {kind!r}"
    if right:
        return [Problem(where, got, f"family: {right[0]}")], []
    expected = f"one of: {', '.join(known)}; its layers are adapted as {family}'s if they have the same names"
    return [], [Problem(where, got, expected)]


def _config(folder: Path) -> dict[str, Any]:
    try:
        return read_config(folder)
    except ValueError:
        return {}  # reported when the sweep file is read


def _kind_problems(folder: Path, config: dict[str, Any], where: str) -> list[Problem]:
    """Return why transformers cannot know the class of a model: its `model_type`."""
    if not config:
        return []
    kind = config.get("model_type")
    if _is_familys(kind):
        return []
    file, expected = folder / CONFIG, "the model_type of a class that transformers has"
    if not isinstance(kind, str) or not kind:
        got = "without model_type" if kind is None else f"with model_type {kind!r}"
        return [Problem(where, f"{file} {got}", expected)]
    from transformers import CONFIG_MAPPING

    if kind in CONFIG_MAPPING:
        return []
    if problems := code_problems(folder, where):
        return problems
    return [Problem(where, f"{file} with model_type {kind!r}, which transformers does not know", expected)]


def _is_familys(kind: Any) -> bool:
    """Return whether a `model_type` is one of a family's."""
    return isinstance(kind, str) and any(
        kind in registry.load("models", name).model_types for name in registry.names("models")
    )


def _generation_problems(folder: Path, where: str) -> list[Problem]:
    """Return why a checkpoint's generation_config.json stops it from being loaded."""
    file = folder / "generation_config.json"
    if not file.is_file():
        return []
    try:
        values = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        values = None
    if isinstance(values, dict):
        return []
    return [Problem(where, f"{file}, which is no JSON object", "remove it: answers are greedy without it")]


def _shape_problems(folder: Path, config: dict[str, Any], where: str) -> Iterator[Problem]:
    """Yield where config.json names more layers, or another vocabulary or width, than the weights have.

    Layers that the weights lack would be random. Of safetensors alone; of another file the worker finds it out.
    """
    if not _is_familys(config.get("model_type")):
        return
    inner = config.get("text_config")
    values = {**config, **inner} if isinstance(inner, dict) else config
    shapes = _shapes(folder)
    numbers = [int(number) for name in shapes for number in _LAYER.findall(name) if "vision" not in name]
    layers = values.get("num_hidden_layers", values.get("num_layers"))
    if numbers and type(layers) is int and layers > max(numbers) + 1:
        got = f"{folder} with weights of {max(numbers) + 1} layers; {CONFIG} names {layers}"
        yield Problem(where, got, "the weights of all layers: those that are absent would be random")
    vocabulary = values.get("vocab_size")
    for name, shape in shapes.items():
        if (
            name.endswith(_EMBEDDINGS)
            and len(shape) == 2
            and type(vocabulary) is int
            and shape[0] != vocabulary
        ):
            got = f"{folder}: {name} with {shape[0]:,} rows; {CONFIG} has vocab_size {vocabulary:,}"
            yield Problem(where, got, f"the {CONFIG} that was saved with these weights")
            return
        widths = [values[key] for key in _WIDTHS if type(values.get(key)) is int]
        if name.endswith(_EMBEDDINGS) and len(shape) == 2 and widths and shape[1] not in widths:
            got = f"{folder}: {name} with {shape[1]:,} columns; {CONFIG} has a width of {widths[0]:,}"
            yield Problem(where, got, f"the {CONFIG} that was saved with these weights")
            return


def _shapes(folder: Path) -> dict[str, list[int]]:
    """Return the shapes of a folder's tensors by name; empty where its weights are no whole safetensors."""
    files = [folder / WEIGHTS[0]]
    if not files[0].is_file():
        index = folder / f"{WEIGHTS[0]}.index.json"
        try:
            files = [
                folder / name for name in sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
            ]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}
    shapes: dict[str, list[int]] = {}
    try:
        for file in files:
            with file.open("rb") as stream:
                size = int.from_bytes(stream.read(8), "little")
                if size > _LARGEST_HEADER:
                    return {}
                head = json.loads(stream.read(size))
            shapes |= {name: value["shape"] for name, value in head.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # reported with the weights
    return shapes


def _pointers(folder: Path, where: str) -> Iterator[Problem]:
    """Yield files that are git-LFS pointers in place of content."""
    other = (folder / name for name in TOKENIZER_FILES)  # of a suffix that is no content's
    for file in dict.fromkeys([*content_files(folder), *(file for file in other if file.is_file())]):
        with file.open("rb") as stream:
            if stream.read(len(_POINTER)) == _POINTER:
                got = f"{file}: a git-LFS pointer, not the file itself"
                yield Problem(where, got, "the whole files (git lfs pull)")


def _weights(folder: Path, where: str) -> Iterator[Problem]:
    """Yield what is wrong with the weights: absent, incomplete, cut short."""
    for name in WEIGHTS:
        if (folder / name).is_file():
            return (yield from _file_problems(folder / name, where))
        index = folder / f"{name}.index.json"
        if index.is_file():
            try:
                shards = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                got = f"{index}: {type(error).__name__}: {error}"
                return (yield Problem(where, got, "an index of shards, as save_pretrained writes it"))
            absent = [shard for shard in shards if not (folder / str(shard)).is_file()]
            if absent:
                got = f"{folder} without {len(absent)} of {len(shards)} shards, such as {absent[0]}"
                yield Problem(where, got, f"all files that {index.name} names")
            for shard in shards:
                if shard not in absent:
                    yield from _file_problems(folder / shard, where)
            return None
    some = [file.name for file in folder.iterdir() if file.suffix in (".safetensors", ".bin", ".gguf", ".pt")]
    got = f"{folder} without weights" + (f" (it has {', '.join(sorted(some)[:3])})" if some else "")
    yield Problem(where, got, f"{WEIGHTS[0]}, or {WEIGHTS[0]}.index.json and its shards")
    return None


def _file_problems(file: Path, where: str) -> Iterator[Problem]:
    """Yield what is wrong with a file of weights, from its head and its size."""
    if file.suffix != ".safetensors":
        with file.open("rb") as stream:
            head = stream.read(len(_POINTER))
        if not head:
            yield Problem(where, f"{file}: an empty file", "whole weights")
        elif head != _POINTER and not head.startswith(_PICKLES):
            yield Problem(where, f"{file}: no weights that torch.save has written", "whole weights")
        return
    try:
        if fault := _safetensors_fault(file):
            yield Problem(where, f"{file}: {fault}", "whole weights, as save_pretrained writes them")
    except OSError as error:
        yield Problem(where, f"{file}: {error.strerror}", "a file that can be read")


def _safetensors_fault(file: Path) -> str | None:
    """Return what is wrong with a safetensors file: its head, or a size that is not what its head says."""
    with file.open("rb") as stream:
        if stream.read(len(_POINTER)) == _POINTER:
            return None  # reported as a pointer
        stream.seek(0)
        size = int.from_bytes(stream.read(8), "little")
        actual = file.stat().st_size
        if not 2 <= size <= min(_LARGEST_HEADER, actual):
            return "no safetensors file"
        try:
            head = json.loads(stream.read(size))
            ends = [value["data_offsets"][1] for name, value in head.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return "a damaged head"
    expected = 8 + size + max(ends, default=0)
    return f"{actual:,} bytes of {expected:,}" if actual != expected else None


def _tokenizer(folder: Path, where: str) -> Iterator[Problem]:
    """Yield the absence of a tokenizer."""
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        got = f"{folder} without a tokenizer (none of {', '.join(TOKENIZER_FILES)})"
        yield Problem(where, got, _REMEDY_TOKENIZER)
