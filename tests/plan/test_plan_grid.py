"""What enters a run's fingerprint and what does not: changes to real files and to the sweep's fields."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_study import IDS, LABELS, write_csv, write_data, write_translations

from flare_ray import registry
from flare_ray.plan import versions
from flare_ray.plan.grid import Grid, expand
from flare_ray.plan.schema import BaseTraining, Sweep, Training

MakeGrid = Callable[..., Grid]
TRANSLATED = [(number, f"translated words of row {number}", LABELS[number % 3]) for number in IDS["test"]]


def prints(grid: Grid) -> dict[str, str]:
    return {run.label: run.fingerprint for run in grid.runs}


def changed(before: Grid, after: Grid) -> set[str]:
    """Labels whose fingerprint differs; the runs are the same otherwise."""
    old, new = prints(before), prints(after)
    assert old.keys() == new.keys()
    return {label for label in old if old[label] != new[label]}


def labels(grid: Grid, *words: str) -> set[str]:
    """Labels that have one of these words; all labels without words."""
    found = {run.label for run in grid.runs if not words or any(word in run.label for word in words)}
    assert found
    return found


# ---- the product


def test_axes_multiply_only_the_methods_that_have_them(grid: MakeGrid) -> None:
    variants = [cell.variant for cell in grid().cells if cell.language == "ace"]
    assert variants == [
        "zero_shot",
        "lora (r=4)",
        "lora (r=8)",
        "flare (add_relu, r=4)",
        "flare (mul, r=4)",
        "flare (add_relu, r=8)",
        "flare (mul, r=8)",
    ]


def test_the_product_is_whole_and_has_no_duplicates(grid: MakeGrid) -> None:
    made = grid()
    assert len(made.cells) == 14
    assert len(made.runs) == 28
    assert len({run.fingerprint for run in made.runs}) == 28
    assert len({run.label for run in made.runs}) == 28
    points = {(run.cell, run.seed) for run in made.runs}
    assert points == {(cell, seed) for cell in made.cells for seed in (1, 2)}


def test_a_base_model_belongs_to_model_task_and_seed(grid: MakeGrid) -> None:
    made = grid()
    assert [base.seed for base in made.bases] == [1, 2]
    for run in made.runs:
        assert run.base.seed == run.seed
        assert run.identity["base"] == run.base.fingerprint
    assert not {base.fingerprint for base in made.bases} & {run.fingerprint for run in made.runs}


def test_every_registered_method_expands(grid: MakeGrid) -> None:
    names = registry.names("methods")
    assert {run.cell.method for run in grid(methods=names).runs} == set(names)


# ---- what a run is not


@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": [2, 1]},
        {"languages": ["jav", "ace"]},
        {"languages": "all"},
        {"methods": ["flare", "zero_shot", "lora"]},
        {"rank": [8, 4]},
        {"fusion": ["mul", "add_relu"]},
        {"resources": {"pack_size": 1}},
        {"resources": {"workers": 4, "gpus_per_worker": 1, "zero_stage": 3, "micro_batch": 2}},
        {"resources": {"max_concurrent": 7, "max_attempts": 5, "source_cache_mb": 0, "cpus_per_worker": 2}},
        {"storage": "s3://elsewhere/study"},
        {"tracking": {"uri": "http://localhost:5000"}},
        {"name": "another"},
        {"training": {"epochs": 20}, "base": {"rank": 64, "alpha": 128}},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_order_execution_names_and_spelled_out_defaults_leave_every_fingerprint(
    grid: MakeGrid, changes: dict[str, Any]
) -> None:
    assert set(prints(grid(**changes)).values()) == set(prints(grid()).values())


@pytest.mark.parametrize(
    "more",
    [
        {"seeds": [1, 2, 3]},
        {"seeds": [7, 2, 1]},
        {"rank": [2, 4, 8]},
        {"fusion": registry.names("fusion.functions")},
    ],
)
def test_a_larger_grid_keeps_every_run_of_the_smaller(grid: MakeGrid, more: dict[str, Any]) -> None:
    before, after = prints(grid()), prints(grid(**more))
    assert before.items() < after.items()


def test_the_same_files_elsewhere_are_the_same_runs(
    grid: MakeGrid, fields: dict[str, Any], tmp_path: Path
) -> None:
    before = grid()
    shutil.copytree(tmp_path / "data", tmp_path / "moved" / "corpus")
    shutil.move(tmp_path / "checkpoint", tmp_path / "moved" / "weights")
    model = {**fields["models"][0], "checkpoint": str(tmp_path / "moved" / "weights")}
    after = grid(models=[model], data={"nusax": str(tmp_path / "moved" / "corpus")})
    assert changed(before, after) == set()


def test_a_models_name_is_only_a_name(grid: MakeGrid, fields: dict[str, Any]) -> None:
    renamed = grid(models=[{**fields["models"][0], "name": "renamed"}])
    assert set(prints(renamed).values()) == set(prints(grid()).values())


def test_a_paths_spelling_does_not_matter(
    grid: MakeGrid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = grid()
    monkeypatch.chdir(tmp_path)
    assert changed(before, grid(data={"nusax": "data"})) == set()
    assert changed(before, grid(data={"nusax": "./data"})) == set()


@pytest.mark.parametrize("file", ["checkpoint/README.md", "data/LICENSE.txt", "data/acehnese/notes.csv"])
def test_files_that_nothing_reads_do_not_matter(grid: MakeGrid, tmp_path: Path, file: str) -> None:
    before = grid()
    (tmp_path / file).write_text("something else")
    assert changed(before, grid()) == set()


def test_another_languages_data_does_not_matter(grid: MakeGrid, tmp_path: Path) -> None:
    before = grid()
    write_data(tmp_path / "data", ["sundanese"])
    assert changed(before, grid()) == set()


# ---- what a run is


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    place = content.find(b"words") if file.suffix == ".csv" else len(content) // 2
    content[place] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("split", ["train.csv", "valid.csv", "test.csv"])
def test_a_byte_of_target_data_changes_exactly_that_languages_runs(
    grid: MakeGrid, tmp_path: Path, split: str
) -> None:
    before = grid()
    flip_a_byte(tmp_path / "data" / "acehnese" / split)
    after = grid()
    assert changed(before, after) == labels(after, "/ace/")
    assert [base.fingerprint for base in before.bases] == [base.fingerprint for base in after.bases]


@pytest.mark.parametrize("split", ["train.csv", "valid.csv", "test.csv"])
def test_a_byte_of_english_data_changes_every_run_through_its_base(
    grid: MakeGrid, tmp_path: Path, split: str
) -> None:
    before = grid()
    flip_a_byte(tmp_path / "data" / "english" / split)
    assert changed(before, grid()) == labels(before)
    for old, new in zip(before.runs, grid().runs, strict=True):
        differs = {key for key in old.identity if old.identity[key] != new.identity[key]}
        assert differs == ({"base", "data"} if old.cell.method == "flare" else {"base"})


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_byte_of_the_checkpoint_changes_every_run(grid: MakeGrid, tmp_path: Path, file: str) -> None:
    before = grid()
    if file == "config.json":
        (tmp_path / "checkpoint" / file).write_text('{"model_type": "xlm-robertb"}')
    else:
        flip_a_byte(tmp_path / "checkpoint" / file)
    assert changed(before, grid()) == labels(before)


def test_a_byte_of_a_large_checkpoint_changes_every_run_too(grid: MakeGrid, tmp_path: Path) -> None:
    """Large files' hashes are remembered: a changed file must not be taken for the one that was there."""
    weights = tmp_path / "checkpoint" / "model.safetensors"
    weights.write_bytes(bytes(3 << 20))
    before = grid()
    assert changed(before, grid()) == set()
    flip_a_byte(weights)
    assert changed(before, grid()) == labels(before)


def test_a_tokenizer_file_more_changes_every_run(grid: MakeGrid, tmp_path: Path) -> None:
    before = grid()
    (tmp_path / "checkpoint" / "tokenizer.json").write_text("{}")
    assert changed(before, grid()) == labels(before)


def another(value: float | None) -> float:
    if value is None:
        return 3
    return 2 * value or 0.5


@pytest.mark.parametrize("name", sorted(set(Training.model_fields) - {"max_length"}))
def test_a_hyperparameter_of_training_changes_exactly_what_is_trained(grid: MakeGrid, name: str) -> None:
    before = grid()
    value = next(run for run in before.runs if run.cell.method == "lora").settings.get(name)
    after = grid(training={name: another(value)})
    assert changed(before, after) == labels(after, "/lora", "/flare")
    assert [base.fingerprint for base in before.bases] == [base.fingerprint for base in after.bases]


@pytest.mark.parametrize("name", sorted(BaseTraining.model_fields))
def test_a_hyperparameter_of_the_base_model_changes_every_run(grid: MakeGrid, name: str) -> None:
    before = grid()
    value = before.bases[0].settings.get(name)
    assert changed(before, grid(base={name: another(value)})) == labels(before)


def test_max_length_cuts_test_rows_too_so_it_changes_every_run_but_no_base(grid: MakeGrid) -> None:
    before, after = grid(), grid(training={"max_length": 16})
    assert changed(before, after) == labels(after)
    assert [base.fingerprint for base in before.bases] == [base.fingerprint for base in after.bases]


def test_alpha_changes_exactly_what_is_trained(grid: MakeGrid) -> None:
    before = grid()
    assert changed(before, grid(alpha=3)) == labels(before, "/lora", "/flare")


def test_alpha_is_twice_the_rank_when_left_out(grid: MakeGrid) -> None:
    before = grid()
    assert changed(before, grid(alpha=8)) == labels(before, "/lora (r=8)", "/flare (add_relu, r=8)", "r=8)")
    assert changed(before, grid(alpha=16)) == labels(before, "r=4)")


def test_precision_changes_every_run(grid: MakeGrid) -> None:
    before = grid()
    assert changed(before, grid(precision="bf16")) == labels(before)


def test_a_methods_version_changes_exactly_its_runs(grid: MakeGrid, monkeypatch: pytest.MonkeyPatch) -> None:
    before = grid()
    monkeypatch.setattr(type(registry.load("methods", "lora")), "VERSION", "bumped")
    assert changed(before, grid()) == labels(before, "/lora")


def test_the_base_version_changes_every_run_and_the_run_version_no_base(
    grid: MakeGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = grid()
    with monkeypatch.context() as patch:
        patch.setattr(versions, "RUN_VERSION", "bumped")
        after = grid()
        assert changed(before, after) == labels(before)
        assert [base.fingerprint for base in before.bases] == [base.fingerprint for base in after.bases]
    monkeypatch.setattr(versions, "BASE_VERSION", "bumped")
    assert changed(before, grid()) == labels(before)


def test_a_hub_revision_is_part_of_what_a_model_and_a_corpus_are(load: Callable[..., Sweep]) -> None:
    def one(checkpoint: str, data: str) -> str:
        model = {"name": "hub", "family": "xlm_roberta", "checkpoint": checkpoint}
        made = expand(load(models=[model], data={"nusax": data}, methods=["zero_shot"], seeds=[1]))
        return made.runs[0].fingerprint

    plain = one("org/model", "org/corpus")
    assert one("org/model@main", "org/corpus@main") == plain
    others = [("org/model@v2", "org/corpus"), ("org/model", "org/corpus@v2"), ("org/model2", "org/corpus")]
    assert len({plain, *(one(*pair) for pair in others)}) == 4


# ---- languages


def test_a_language_that_a_task_lacks_is_skipped_with_a_reason(fields: dict[str, Any]) -> None:
    made = expand(Sweep.model_validate({**fields, "languages": ["ace", "sun"]}))
    assert {run.cell.language for run in made.runs} == {"ace"}
    assert [skipped.label for skipped in made.skipped] == ["tiny/nusax/sun"]
    assert "nusax has no sun in" in made.skipped[0].reason
    assert fields["data"]["nusax"] in made.skipped[0].reason


def test_all_languages_are_those_of_the_folder_in_table_order_then_ones_own(
    grid: MakeGrid, tmp_path: Path
) -> None:
    write_data(tmp_path / "data", ["klingon", "balinese"])
    (tmp_path / "data" / ".git").mkdir()
    write_csv(tmp_path / "data" / "stray.csv", [])
    made = grid(languages="all")
    assert list(dict.fromkeys(run.cell.language for run in made.runs)) == ["ace", "ban", "jav", "klingon"]
    assert made.skipped == ()


def test_rules_keep_and_leave_out_points_with_their_reasons(grid: MakeGrid) -> None:
    whole = grid()
    kept = grid(include=[{"method": "flare", "rank": 4}, {"language": "ace", "method": ["lora"]}])
    assert labels(kept) == {
        run.label
        for run in whole.runs
        if (run.cell.method == "flare" and ("rank", 4) in run.cell.axes)
        or (run.cell.method == "lora" and run.cell.language == "ace")
    }
    rest = grid(exclude=[{"method": "flare", "rank": 4}, {"fusion": "mul"}])
    assert not [run for run in rest.runs if ("fusion", "mul") in run.cell.axes]
    assert len(labels(rest)) < len(labels(whole))
    reasons = {skipped.reason for skipped in [*kept.skipped, *rest.skipped]}
    assert reasons == {"no rule of include matches", "exclude[0]", "exclude[1]"}
    known = {run.label: run.fingerprint for run in whole.runs}
    assert all(known[run.label] == run.fingerprint for run in rest.runs), (
        "what a rule keeps is the run it was"
    )


def test_options_of_a_method_are_part_of_its_runs(grid: MakeGrid) -> None:
    plain = grid()
    same = grid(methods=["zero_shot", "lora", {"name": "flare", "source_offset": 1}])
    assert {run.fingerprint for run in same.runs} == {run.fingerprint for run in plain.runs}
    varied = grid(methods=["flare", {"name": "flare", "train_only": True}])
    variants = {run.cell.variant for run in varied.runs}
    assert "flare (add_relu, r=4)" in variants
    assert "flare (add_relu, r=4, train_only)" in variants
    assert (
        len({run.fingerprint for run in varied.runs}) == len(varied.runs) == 2 * len(labels(plain, "/flare"))
    )


# ---- English beside the test rows


@pytest.mark.parametrize("translation", ["gold", "nllb-200-3.3b"])
def test_a_translation_file_that_nothing_reads_changes_no_run(
    grid: MakeGrid, tmp_path: Path, translation: str
) -> None:
    before = grid(translation=translation)
    write_csv(tmp_path / "data" / "acehnese" / "test.english.csv", TRANSLATED)
    assert not changed(before, grid(translation=translation))


def test_a_translation_file_enters_the_runs_that_read_it(grid: MakeGrid, tmp_path: Path) -> None:
    methods = ["zero_shot", "lora", "translate_test", "flare", {"name": "flare", "test_source": "gold"}]
    write_translations(tmp_path / "data")
    before = grid(translation="files", methods=methods)
    write_csv(tmp_path / "data" / "acehnese" / "valid.english.csv", [(6, "words", "neutral")])
    assert not changed(before, grid(translation="files", methods=methods)), "read at test alone"
    write_csv(tmp_path / "data" / "acehnese" / "test.english.csv", TRANSLATED)
    after = changed(before, grid(translation="files", methods=methods))
    read = labels(before, "/ace/translate_test", "/ace/flare")
    assert after == {label for label in read if "test_source=gold" not in label}
