"""A sweep file may extend others: what is merged, what is replaced, and what bad chains get."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from small_study import write_sweep

from flare_ray.errors import InputError, Problem
from flare_ray.plan.extends import extended, merge
from flare_ray.plan.grid import expand
from flare_ray.plan.load import load_sweep


def write(file: Path, **fields: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(fields, sort_keys=False))
    return file


def problems(file: Path) -> list[Problem]:
    with pytest.raises(InputError) as caught:
        extended(file)
    assert caught.value.title == str(file)
    return list(caught.value.problems)


def test_mappings_are_merged_at_any_depth_and_all_else_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "under.yaml", training={"epochs": 3, "warmup": 0.2}, rank=[4, 8], name="under", alpha=3)
    file = write(tmp_path / "over.yaml", extends="under.yaml", training={"epochs": 5}, rank=[16], name="over")
    assert extended(file) == {
        "training": {"epochs": 5, "warmup": 0.2},
        "rank": [16],
        "name": "over",
        "alpha": 3,
    }
    assert merge({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": 3}}}) == {"a": {"b": {"c": 3, "d": 2}}}
    assert merge({"a": {"b": 1}}, {"a": None}) == {"a": None}
    assert merge({"a": [1]}, {"a": {"b": 1}}) == {"a": {"b": 1}}


def test_of_several_files_the_later_lies_over_the_earlier_and_a_shared_ancestor_is_no_cycle(
    tmp_path: Path,
) -> None:
    write(tmp_path / "root.yaml", alpha=1, seeds=[1], name="root")
    write(tmp_path / "one.yaml", extends="root.yaml", alpha=2, rank=[1])
    write(tmp_path / "two.yaml", extends="root.yaml", rank=[2])
    assert extended(write(tmp_path / "a.yaml", extends=["one.yaml", "two.yaml"])) == {
        "alpha": 1,  # of two, which has it from root
        "seeds": [1],
        "name": "root",
        "rank": [2],
    }
    assert extended(write(tmp_path / "b.yaml", extends=["two.yaml", "one.yaml"], name="b"))["alpha"] == 2


def test_paths_start_at_the_file_that_names_them(tmp_path: Path) -> None:
    write(tmp_path / "root.yaml", alpha=1)
    write(tmp_path / "inner" / "middle.yaml", extends="../root.yaml", rank=[2])
    file = write(tmp_path / "other" / "leaf.yaml", extends="../inner/middle.yaml")
    assert extended(file) == {"alpha": 1, "rank": [2]}


def test_a_file_that_extends_another_is_the_sweep_that_has_its_fields(
    fields: dict[str, Any], tmp_path: Path
) -> None:
    whole = load_sweep(write_sweep(tmp_path / "whole.yaml", fields))
    write(tmp_path / "common.yaml", **{**fields, "seeds": [5], "name": "common"})
    file = write(tmp_path / "leaf.yaml", extends="common.yaml", seeds=[1, 2], name="small")
    assert load_sweep(file) == whole
    assert [run.fingerprint for run in expand(load_sweep(file)).runs] == [
        run.fingerprint for run in expand(whole).runs
    ]
    assert load_sweep(file, ["seeds=[7]"]).seeds == [7]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_cycle_is_told_with_its_chain(tmp_path: Path, length: int) -> None:
    files = [tmp_path / f"{number}.yaml" for number in range(length)]
    for place, file in enumerate(files):
        write(file, extends=files[(place + 1) % length].name)
    (problem,) = problems(files[0])
    assert problem.where == "extends"
    assert problem.found == " → ".join(map(str, [*files, files[0]]))


def test_files_that_are_not_there_or_not_yaml_are_told_together_with_their_chains(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("name: [a\n")
    write(tmp_path / "common.yaml", extends=["comon.yaml", "broken.yaml"])
    file = write(tmp_path / "leaf.yaml", extends=["common.yaml", "nowhere.yaml"])
    absent, broken, nowhere = problems(file)
    chain = f"{file} → {tmp_path / 'common.yaml'} → "
    assert absent.found.startswith(f"{chain}{tmp_path / 'comon.yaml'}: no file")
    assert "'common.yaml' (the nearest)" in absent.wanted
    assert broken.found.startswith(f"{chain}{tmp_path / 'broken.yaml'}: ")
    assert nowhere.found.startswith(f"{file} → {tmp_path / 'nowhere.yaml'}: no file")


@pytest.mark.parametrize("given", [3, {"a": 1}, [None], [["x.yaml"]], ""])
def test_what_is_no_path_is_told(tmp_path: Path, given: Any) -> None:
    (problem,) = problems(write(tmp_path / "a.yaml", extends=given, name="x"))
    assert problem.where == "extends"
    assert "path" in problem.wanted
