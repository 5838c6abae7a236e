"""Input that would silently mean something else than its author thinks is told as wrong."""

from pathlib import Path

import pytest
import yaml

from flare_ray.errors import InputError
from flare_ray.plan.extends import read_yaml
from flare_ray.plan.grid import expand
from flare_ray.plan.load import apply_overrides, load_sweep
from flare_ray.plan.yaml_values import read_value
from flare_ray.tasks.nusax import TASK

HEADER = "id,text,label\n"


@pytest.fixture
def nusax(tmp_path: Path) -> Path:
    for language in ("english", "acehnese", "toba_batak"):
        folder = tmp_path / "nusax" / language
        folder.mkdir(parents=True)
        for split in ("train", "valid", "test"):
            (folder / f"{split}.csv").write_text(HEADER + "1,a,neutral\n2,b,positive\n")
    return tmp_path / "nusax"


def sweep_file(folder: Path, data: Path, models: str) -> Path:
    file = folder / "sweep.yaml"
    file.write_text(
        f"name: s\nmodels: {models}\ntasks: [nusax]\nmethods: [zero_shot]\nseeds: [1]\ndata: {{nusax: {data}}}\n"
    )
    return file


def test_a_key_that_comes_twice_is_an_error_at_any_depth(tmp_path: Path) -> None:
    for text in ("name: a\nname: b\n", "training:\n  epochs: 1\n  epochs: 2\n"):
        (tmp_path / "twice.yaml").write_text(text)
        with pytest.raises(InputError, match="comes twice"):
            read_yaml(tmp_path / "twice.yaml")


def test_a_number_with_an_exponent_is_a_number_without_a_dot_too() -> None:
    numbers = ["1e-4", "2E5", "-1e3", "+1e0", ".5e-1", "5.e2", "1.0e-4", "1.5e+3"]
    assert [read_value(text) for text in numbers] == [float(text) for text in numbers]
    assert [read_value(text) for text in ("e5", "1e", "1e-4x", "v1e5", "'1e-4'")] == [
        "e5",
        "1e",
        "1e-4x",
        "v1e5",
        "1e-4",
    ]
    assert read_value("[1e-4, {a: 5e-4}]") == [1e-4, {"a": 5e-4}]


BAD = {
    f"alpha: {'9' * 5000}": "a number of 5,000 characters",
    "alpha: !!int a": "'a'",
    "alpha: !!bool maybe": "'maybe'",
    "alpha: !!timestamp soon": "'!!timestamp'",
    "training: &a {epochs: *a}": "recursive",
    "seeds: &a [*a]": "recursive",
    f"seeds: {'[' * 5000}": "nested too deeply",
}


@pytest.mark.parametrize("text", BAD)
def test_what_stands_for_no_plain_value_is_one_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        read_yaml(tmp_path / "bad.yaml")
    [problem] = error.value.problems
    assert BAD[text] in problem.found
    assert len(problem.found) < 400
    key, _, value = text.partition(": ")
    with pytest.raises(InputError) as error:
        apply_overrides({}, [f"{key}={value}"], "sweep.yaml")
    [problem] = error.value.problems
    assert problem.where == "--set"


def test_mappings_merge_others_and_their_own_keys_win() -> None:
    text = """
    resources: &a {workers: 2, pack_size: 4}
    training: &b {<<: *a, workers: 3}
    base: {x: 1, <<: [*b, {epochs: 5}]}
    tracking: {<<: *b}
    """
    assert read_value(text) == {
        "resources": {"workers": 2, "pack_size": 4},
        "training": {"workers": 3, "pack_size": 4},
        "base": {"workers": 3, "pack_size": 4, "x": 1, "epochs": 5},
        "tracking": {"workers": 3, "pack_size": 4},
    }
    with pytest.raises(yaml.YAMLError, match="'x' comes twice"):
        read_value("a: &a {y: 1}\nb: {<<: *a, x: 1, x: 2}")
    with pytest.raises(yaml.YAMLError, match="'x' comes twice"):
        read_value("b: {<<: {x: 1, x: 2}}")


@pytest.mark.parametrize(
    ("content", "found"),
    [("", "without a row"), ("1,a,neutral\n1,b,neutral\n", "ids that come twice, such as 1")],
)
def test_an_empty_split_and_repeated_ids_are_errors(nusax: Path, content: str, found: str) -> None:
    (nusax / "acehnese" / "valid.csv").write_text(HEADER + content)
    problems = TASK.problems(str(nusax), ["ace"])
    assert any(found in problem.found and "valid.csv" in problem.found for problem in problems)


def test_two_names_for_one_checkpoint_are_an_error(nusax: Path, tmp_path: Path) -> None:
    for name in ("one", "copy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    models = ", ".join(f"{{name: {n}, family: bert, checkpoint: {tmp_path / n}}}" for n in ("one", "copy"))
    with pytest.raises(InputError, match=r"models\[1\].checkpoint: found the same checkpoint as models\[0\]"):
        load_sweep(sweep_file(tmp_path, nusax, f"[{models}]"))


def test_a_language_that_the_study_leaves_out_is_skipped_with_its_reason(nusax: Path, tmp_path: Path) -> None:
    grid = expand(load_sweep(sweep_file(tmp_path, nusax, "[sandbox-xlm-r]")))
    assert {run.cell.language for run in grid.runs} == {"ace"}
    (skipped,) = grid.skipped
    assert skipped.label == "sandbox-xlm-r/nusax/toba_batak"
    assert "NLLB does not cover it" in skipped.reason
