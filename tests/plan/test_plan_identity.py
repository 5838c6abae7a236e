"""What a run is, written out: identities that stores already hold, and laws that keep them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_study import write_checkpoint, write_sweep

from flare_ray.plan.grid import Grid, expand
from flare_ray.plan.load import load_sweep
from flare_ray.plan.schema import Sweep

MakeGrid = Callable[..., Grid]
HUB = {
    "name": "pinned",
    "models": ["xlm-r-large"],
    "tasks": ["nusax"],
    "languages": ["ace"],
    "methods": ["zero_shot", "lora", "flare_mt", "flare"],
    "seeds": [1],
    "translation": "nllb-200-3.3b",
}
BASE: dict[str, Any] = {
    "kind": "base",
    "model": {
        "family": "xlm_roberta",
        "quantization": "none",
        "hub": "FacebookAI/xlm-roberta-large",
        "revision": "main",
    },
    "task": "nusax",
    "data": {"hub": "indonlp/NusaX-senti", "revision": "main", "language": "eng"},
    "settings": {
        "epochs": 20,
        "batch_size": 64,
        "learning_rate": 2e-4,
        "max_length": 128,
        "warmup": 0.1,
        "weight_decay": 0,
        "max_grad_norm": 1,
        "dropout": 0,
        "precision": "bf16",
        "rank": 64,
        "alpha": 128,
    },
    "seed": 1,
}
CORPUS = {
    "kind": "corpus",
    "version": "1",
    "task": "nusax",
    "split": "train",
    "language": "ace",
    "rows": {"hub": "indonlp/NusaX-senti", "revision": "main", "language": "eng"},
    "translator": {
        "version": "1",
        "checkpoint": {"hub": "facebook/nllb-200-3.3B", "revision": "main"},
        "backend": "transformers",
        "precision": "fp32",
        "beams": 1,
        "max_length": None,
    },
    "answers": {},
}
PINNED = {
    "fp32": {
        "zero_shot": "fe4ac8649cfec8951c33",
        "lora": "b6a79aaac53660077797",
        "flare_mt": "83a7eae38dd6475f4206",
        "flare": "5e614b9df9d0685bb66a",
    },
    "bf16": {
        "zero_shot": "c80f99a59147938174f4",
        "lora": "261820d80feb68030f0d",
        "flare_mt": "38aa35f74f911f3d8288",
        "flare": "c08a92d40c691b7fd594",
    },
}
VERSIONS = {"fp32": "2", "bf16": "3"}
"""Trained work in bf16 has been computed otherwise since a version that fp32 did not need."""


@pytest.mark.parametrize("precision", PINNED)
def test_identities_are_those_that_stores_hold(precision: str) -> None:
    """Whoever changes one on purpose bumps a version; whoever changes one by accident loses every finished run."""
    made = expand(Sweep.model_validate({**HUB, "precision": precision}))
    settings, version = {**BASE["settings"], "precision": precision}, VERSIONS[precision]
    (base,) = made.bases
    assert base.identity == {**BASE, "settings": settings, "version": version}
    assert made.corpora[0].identity == CORPUS
    (flare,) = (run for run in made.runs if run.cell.method == "flare")
    assert flare.identity == {
        "kind": "run",
        "version": [version, "1"],
        "base": base.fingerprint,
        "method": "flare",
        "language": "ace",
        "data": {
            "target": {"hub": "indonlp/NusaX-senti", "revision": "main", "language": "ace"},
            "source": {"hub": "indonlp/NusaX-senti", "revision": "main", "language": "eng"},
            "translated": {corpus.split: corpus.fingerprint for corpus in made.corpora},
        },
        "settings": {
            **settings,
            "fusion": "add_relu",
            "source_offset": 1,
            "cross_attention_bias": False,
            "train_only": False,
            "test_source": "translation",
            "translation": "machine",
        },
        "seed": 1,
    }
    assert {run.cell.method: run.fingerprint for run in made.runs} == PINNED[precision]


# ---- what does not change it


def test_more_seeds_repeat_no_run_and_no_base() -> None:
    before, after = (
        expand(Sweep.model_validate({**HUB, "seeds": seeds})) for seeds in ([1, 2, 3], [5, 3, 1, 2, 4])
    )
    kept, wanted = ({run.fingerprint for run in grid.runs} for grid in (before, after))
    assert kept < wanted
    assert len(wanted - kept) == 2 * len(before.cells)
    assert {base.fingerprint for base in before.bases} < {base.fingerprint for base in after.bases}
    assert before.corpora == after.corpora, "translations belong to no seed"


def test_the_order_of_keys_in_the_file_does_not_matter(fields: dict[str, Any], tmp_path: Path) -> None:
    turned = json.loads(json.dumps(fields))
    turned["models"] = [dict(reversed(turned["models"][0].items()))]
    one = expand(load_sweep(write_sweep(tmp_path / "one.yaml", fields)))
    other = expand(load_sweep(write_sweep(tmp_path / "other.yaml", dict(reversed(turned.items())))))
    assert [run.fingerprint for run in one.runs] == [run.fingerprint for run in other.runs]


# ---- what changes it


@pytest.fixture
def translated(grid: MakeGrid, tmp_path: Path) -> MakeGrid:
    """A grid whose text a local translation model translates."""
    model = str(write_checkpoint(tmp_path / "mt"))
    methods = ["zero_shot", "translate_test", "lora", "flare"]

    def make(**section: Any) -> Grid:
        return grid(methods=methods, rank=[4], fusion=["mul"], translation={"model": model, **section})

    return make


def differing(before: Grid, after: Grid) -> set[str]:
    pairs = zip(before.runs, after.runs, strict=True)
    return {old.cell.method for old, new in pairs if old.fingerprint != new.fingerprint}


READS = {"translate_test", "lora", "flare"}


@pytest.mark.parametrize(
    "section",
    [
        {"beams": 4},
        {"precision": "bf16"},
        {"max_length": 64},
        {"precision": "fp16"},
        {"split": "sentence"},
    ],
    ids=str,
)
def test_how_text_is_translated_changes_what_reads_it(translated: MakeGrid, section: dict[str, Any]) -> None:
    assert differing(translated(), translated(**section)) == READS


@pytest.mark.parametrize("section", [{"split": "none"}, {"round_trip": 50}], ids=str)
def test_what_does_not_change_a_translation_changes_nothing(
    translated: MakeGrid, section: dict[str, Any]
) -> None:
    assert differing(translated(), translated(**section)) == set()


def test_a_byte_of_the_translation_model_changes_what_reads_its_text(
    translated: MakeGrid, tmp_path: Path
) -> None:
    before = translated()
    (tmp_path / "mt" / "model.safetensors").write_bytes(bytes(65))
    assert differing(before, translated()) == READS


def test_markers_matter_where_there_are_answers_alone(translated: MakeGrid) -> None:
    assert differing(translated(), translated(markers=["tags"], answer_alone=True)) == set()


def test_a_copy_of_the_translation_model_is_the_same_one(translated: MakeGrid, tmp_path: Path) -> None:
    before = translated()
    (tmp_path / "mt").rename(tmp_path / "moved")
    write_checkpoint(tmp_path / "mt")
    assert differing(before, translated()) == set()
    assert differing(before, translated(model=str(tmp_path / "moved"))) == set()


def test_what_is_dropped_changes_no_fingerprint(grid: MakeGrid) -> None:
    """How many rows may be unusable says when to stop, not what is trained."""
    assert differing(grid(), grid(max_dropped=0.5)) == set()
