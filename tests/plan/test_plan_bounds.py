"""What a sweep file may hold: YAML 1.2's core values, each of its field's type, within bounds; what messages say."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError
from small_study import write_checkpoint, write_sweep

from flare_ray import registry
from flare_ray.errors import InputError, Problem
from flare_ray.plan import sections
from flare_ray.plan.checkpoints import checkpoint_identity
from flare_ray.plan.extends import extended
from flare_ray.plan.grid import Grid, expand
from flare_ray.plan.load import load_sweep
from flare_ray.plan.schema import Sweep
from flare_ray.plan.shapes import shape_of
from flare_ray.plan.strict import Strict
from flare_ray.plan.yaml_values import read_document, read_value

Load = Callable[..., Sweep]


def problems(work: Callable[[], Any]) -> dict[str, Problem]:
    with pytest.raises(InputError) as caught:
        work()
    return {problem.where: problem for problem in caught.value.problems}


# ---- YAML


def test_words_and_colons_are_text_and_one_pair_of_words_is_true_and_false() -> None:
    words = "[yes, no, on, off, y, n, Yes, 1:30, 1:30:20, 1_000, 2024-02-30, 0b11, v1]"
    assert read_value(words) == words.strip("[]").split(", ")
    assert read_value("[true, True, FALSE, ~, null, '', 0o100, 0x1F, -3, 1e-4]") == [
        True, True, False, None, None, "", 64, 31, -3, 1e-4,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "remedy"), [("0100", "write 64 or 100"), ("-0128", "write -128"), ("00", "write 0")]
)
def test_a_leading_zero_is_an_error_that_says_what_to_write(load: Load, text: str, remedy: str) -> None:
    (problem,) = problems(lambda: load(f"training.max_length={text}")).values()
    assert remedy in problem.wanted
    assert "in quotes" in problem.wanted


def test_what_an_alias_repeats_is_a_copy(load: Load, fields: dict[str, Any], tmp_path: Path) -> None:
    del fields["models"]
    file = write_sweep(tmp_path / "sweep.yaml", fields)
    model = tmp_path / "checkpoint"
    text = f"models: [{{name: t, family: bert, checkpoint: {model}}}]\ntraining: &a {{epochs: 1}}\nbase: *a\n"
    file.write_text(file.read_text() + text)
    sweep = load_sweep(file, ["training.epochs=7"])
    assert (sweep.training.epochs, sweep.base.epochs) == (7, 1)


def test_lines_are_those_of_the_text() -> None:
    text = "name: a\n\n# words\nrank:\n- 8\n- 64\ntraining: {epochs: 1,\n  alpha: 2}\n"
    lines = read_document(text).lines
    assert {path: lines[path] for path in ("name", "rank", "rank[1]", "training.alpha")} == {
        "name": 1, "rank": 4, "rank[1]": 6, "training.alpha": 8,
    }  # fmt: skip


def test_a_problem_names_the_line_and_the_file_of_its_value(fields: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "common.yaml").write_text("alpha: 1\nrank: [0, 4]\ntraining: {epochs: -1}\n")
    file = write_sweep(tmp_path / "sweep.yaml", {k: v for k, v in fields.items() if k != "rank"})
    file.write_text("extends: common.yaml\nmax_dropped: 7\n" + file.read_text())
    found = problems(lambda: load_sweep(file, ["base.epochs=0"]))
    assert {where: problem.at for where, problem in found.items()} == {
        "rank[0]": "common.yaml line 2",
        "training.epochs": "common.yaml line 3",
        "max_dropped": "line 2",
        "base.epochs": "--set",
    }
    assert str(found["rank[0]"]).endswith("(common.yaml line 2)")


def test_a_value_that_is_replaced_takes_its_lines_with_it(fields: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "common.yaml").write_text("rank: [4, 8, 16]\n")
    file = write_sweep(tmp_path / "sweep.yaml", fields | {"rank": [4, 0]})
    file.write_text(file.read_text() + "extends: common.yaml\n")
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if text == "- 0")
    assert problems(lambda: load_sweep(file))["rank[1]"].at == f"line {line}"


def test_a_byte_that_is_not_utf_8_is_named_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_bytes("# fine: é\nname: caf\u00e9\n".encode().replace("caf\u00e9".encode(), b"caf\xe9"))
    (problem,) = problems(lambda: load_sweep(file)).values()
    assert "line 2: byte 0xe9" in problem.found
    assert "UTF-8" in problem.wanted


def test_utf_8_is_read_in_any_locale_with_a_mark_or_without(load: Load, tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    load()
    text = file.read_text()
    file.write_bytes(b"\xef\xbb\xbf" + text.replace("small", "small # \u00e9").encode())
    assert load_sweep(file) == load()


# ---- types


def _sections() -> list[type[BaseModel]]:
    named = [one for one in vars(sections).values() if isinstance(one, type) and issubclass(one, Strict)]
    return [Sweep, *named, *(registry.load("methods", name).Options for name in registry.names("methods"))]


def _has(annotation: Any, kind: type) -> bool:
    if get_origin(annotation) is Literal:
        return any(type(one) is kind for one in get_args(annotation))
    return annotation is kind or any(_has(inner, kind) for inner in get_args(annotation))


@pytest.mark.parametrize("section", _sections(), ids=lambda section: section.__name__)
def test_no_field_takes_a_flag_for_a_number_or_a_word_for_a_flag(section: type[BaseModel]) -> None:
    for name, field in section.model_fields.items():
        wrong: list[Any] = []
        if _has(field.annotation, int) and not _has(field.annotation, bool):
            wrong += [True, False, [True]]
        if _has(field.annotation, float):
            wrong += [True, float("nan"), float("inf"), -float("inf"), 10**30, -(10**30)]
        if _has(field.annotation, bool):
            wrong += ["yes", "true", 1, 0, "on"]
        for value in wrong:
            with pytest.raises(ValidationError) as caught:
                section.model_validate({name: value})
            assert any(detail["loc"][0] == name for detail in caught.value.errors()), (name, value)


REMEDIES = [
    ("resources.prefetch=yes", "resources.prefetch", "write true"),
    ("resources.prefetch=off", "resources.prefetch", "write false"),
    ("training.epochs=1_000", "training.epochs", "write 1000"),
    ("training.max_length=1:30", "training.max_length", "without colons"),
    ("seeds=[true]", "seeds[0]", "not true or false"),
    ("name=2024", "name", "put 2024 in quotes"),
    ("languages=[true]", "languages[0]", "put true in quotes"),
    ("resources.gpus_per_worker=1.5", "resources.gpus_per_worker", "1 or 2"),
    ("resources.gpus_per_worker=0.00001", "resources.gpus_per_worker", "0.0001"),
    ("storage='$SCRATCH/x'", "storage", "variables are not expanded"),
    ("storage=~nouser/x", "storage", "no user 'nouser'"),
    ("storage=s3:/bucket/x", "storage", "s3://bucket/folder"),
    ("storage=memory://x", "storage", "one of: s3,"),
    ("storage=filecache::s3://b/x", "storage", "not a chain"),
    ("data.nusax=sandbox:nope", "data.nusax", "sandbox, a local folder"),
    ("rank=[1e30]", "rank[0]", "65536"),
]


@pytest.mark.parametrize(("override", "where", "remedy"), REMEDIES)
def test_an_error_says_what_to_write_instead(load: Load, override: str, where: str, remedy: str) -> None:
    found = problems(lambda: load(override))
    assert remedy in found[where].wanted


@pytest.mark.parametrize(
    "url", ["s3://bucket/x", "gs://bucket/x", "abfs://box/x", "az://box/x", "file:///tmp/x", "a:b"]
)
def test_storages_that_the_store_supports(load: Load, url: str) -> None:
    assert load(storage=url).storage == (url if "://" in url else str(Path(url).absolute()))


def test_a_storage_below_a_file_is_an_error(load: Load, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for storage in ("file", "file/inside", "link"):
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to("nowhere")
        assert "a folder" in problems(lambda at=storage: load(storage=str(tmp_path / at)))["storage"].wanted


# ---- sizes


def test_a_grid_is_counted_and_the_bound_can_be_raised(load: Load, grid: Callable[..., Grid]) -> None:
    changes = {"rank": list(range(1, 101)), "max_runs": 1000}
    found = problems(lambda: load(**changes))["max_runs"]
    cells = 2 * (1 + 100 + 200)  # languages × (zero-shot, LoRA's ranks, FLARE's ranks and fusion functions)
    assert found.found.startswith(f"{cells} cells with 2 seeds, which are {cells * 2:,} runs")
    assert found.wanted.endswith(f"max_runs: {cells * 2}")
    assert len(grid(**changes | {"max_runs": cells * 2}).runs) == cells * 2


def test_max_runs_is_no_part_of_a_run(grid: Callable[..., Grid]) -> None:
    assert [run.fingerprint for run in grid().runs] == [run.fingerprint for run in grid(max_runs=500).runs]


def test_a_sweep_that_plans_nothing_is_an_error(load: Load) -> None:
    found = problems(
        lambda: load(exclude=[{"method": ["zero_shot", "lora"]}, {"fusion": ["add_relu", "mul"]}])
    )
    assert "by exclude[0]" in found["exclude"].found
    assert expand(load(exclude=[{"method": ["zero_shot", "lora"]}])).runs
    search = {"method": "lora", "space": {"rank": [4, 8]}}
    assert load(exclude=[{"task": "nusax"}], searches=[search]).searches


def test_a_message_is_bounded_and_says_how_many_problems_it_leaves_out(load: Load) -> None:
    with pytest.raises(InputError) as caught:
        load(languages=[f"language{number}" for number in range(5000)], seeds=[f"s{n}" for n in range(400)])
    message = str(caught.value)
    assert len(message) < 20_000
    assert message.splitlines()[-1].strip().endswith("more")
    assert "unknown names" in "".join(problem.found for problem in caught.value.problems)


def test_a_secret_at_the_edge_of_what_is_shown_is_not_shown() -> None:
    secret = "hf_" + "a" * 30
    for start in range(440, 520, 3):
        error = InputError("x", [Problem("storage", "s" * start + f" {secret} " + "t" * 5000, "w")])
        assert secret[:8] not in str(error)


def test_extended_files_have_the_bounds_of_one_file_together(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.yaml").write_text("# " + "x" * 60_000 + f"\nk{number}: 1\n")
    (tmp_path / "few.yaml").write_text("extends: [0.yaml, 1.yaml]\n")
    assert extended(tmp_path / "few.yaml") == {"k0": 1, "k1": 1}
    (tmp_path / "all.yaml").write_text("extends: [0.yaml, 1.yaml, 2.yaml, 3.yaml, 4.yaml]\n")
    assert "extends" in problems(lambda: extended(tmp_path / "all.yaml"))


def test_a_sensible_file_is_read_in_milliseconds(load: Load, tmp_path: Path) -> None:
    load()
    text = (tmp_path / "sweep.yaml").read_text()
    before = time.process_time()
    for _ in range(10):
        read_value(text)
    assert (time.process_time() - before) / 10 < 0.05


# ---- checkpoints


@pytest.mark.parametrize(
    "content", [b"[1]", b"null", b"", b"3", b"{", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b"\xff"]
)
def test_a_config_that_is_no_object_is_an_error(load: Load, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint" / "config.json").write_bytes(content)
    found = problems(load)["models[0].checkpoint"]
    assert "config.json" in found.found
    assert shape_of(str(tmp_path / "checkpoint")) is None


def test_a_config_with_senseless_sizes_has_no_shape(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "other")
    for value in ("[1]", '"wide"', "1e999", "-3", "true", "{}", "99999999999999999999999999"):
        (folder / "config.json").write_text(
            f'{{"hidden_size": {value}, "intermediate_size": 3, "num_hidden_layers": 2}}'
        )
        assert shape_of(str(folder)) is None


def test_a_folder_beside_the_weights_is_no_content_and_a_fifo_an_error(load: Load, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    before = checkpoint_identity(str(folder))
    (folder / "extra.json").mkdir()
    assert checkpoint_identity(str(folder)) == before
    assert load()
    (folder / "tokenizer.json").unlink()
    os.mkfifo(folder / "tokenizer.json")
    assert "a FIFO" in problems(load)["models[0].checkpoint"].found


def test_a_sandbox_checkpoint_must_be_one(load: Load) -> None:
    model = {"name": "mine", "family": "xlm_roberta"}
    assert load(models=[model | {"checkpoint": "sandbox:sandbox-xlm-r"}]).models
    for wrong in ("sandbox:nope", "sandbox:sandbox-nllb", "sandbox:"):
        found = problems(lambda name=wrong: load(models=[model | {"checkpoint": name}]))
        assert "sandbox:sandbox-xlm-r" in found["models[0].checkpoint"].wanted
