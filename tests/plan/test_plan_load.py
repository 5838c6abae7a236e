"""What bad input gets: one InputError with everything that is wrong, each with its dotted place."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_study import write_csv, write_data, write_sweep

from flare_ray.errors import InputError, Problem
from flare_ray.plan.grid import expand
from flare_ray.plan.load import load_sweep
from flare_ray.plan.schema import Resources, Sweep

Load = Callable[..., Sweep]


def problems(load: Callable[[], Any]) -> dict[str, Problem]:
    """The problems by place; each place once."""
    with pytest.raises(InputError) as caught:
        load()
    for problem in caught.value.problems:
        assert str(problem) in str(caught.value)
        assert problem.where
        assert problem.found
        assert problem.wanted
    found = {problem.where: problem for problem in caught.value.problems}
    assert len(found) == len(caught.value.problems)
    return found


def test_a_valid_sweep_loads_and_expands(load: Load) -> None:
    sweep = load()
    assert sweep.seeds == [1, 2]
    assert sweep.resources == Resources()
    assert len(expand(sweep).runs) == 28


def test_a_loaded_sweep_is_frozen(load: Load) -> None:
    sweep = load()
    for place, field in [(sweep, "seeds"), (sweep.training, "epochs"), (sweep.models[0], "name")]:
        with pytest.raises(ValueError, match="frozen"):
            setattr(place, field, None)


def test_everything_wrong_is_told_at_once_in_the_schema_and_in_the_files(
    load: Load, fields: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "data" / "javanese" / "test.csv").unlink()
    write_csv(tmp_path / "data" / "acehnese" / "test.csv", [], header=("id", "tekst", "label"))
    model = {**fields["models"][0], "family": "xlm_robertA"}
    with pytest.raises(InputError) as caught:
        load(
            nmae="x",
            models=[model, "xlm-r-lage"],
            methods=["zero_shot", "lore"],
            seeds=[],
            rank=[8, 0],
            fusion=["ad_relu"],
            training={"epochs": 0, "learning_rat": 1},
            resources={"pack_size": "many"},
        )
    assert sorted(problem.where for problem in caught.value.problems) == [
        "data.nusax",
        "data.nusax",
        "fusion[0]",
        "methods[1]",
        "models[0].family",
        "models[1]",
        "nmae",
        "rank[1]",
        "resources.pack_size",
        "seeds",
        "training.epochs",
        "training.learning_rat",
    ]
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{tmp_path / 'sweep.yaml'}: 12 problems"
    assert lines[1:] == [f"  {problem}" for problem in caught.value.problems]


NEAREST = {
    "nmae": ({"nmae": "x"}, "'name'"),
    "training.epoch": ({"training": {"epoch": 3}}, "'epochs'"),
    "base.ranks": ({"base": {"ranks": 3}}, "'rank'"),
    "resources.packsize": ({"resources": {"packsize": 3}}, "'pack_size'"),
    "tracking.url": ({"tracking": {"url": "x"}}, "'uri'"),
    "models[0]": ({"models": ["XLM-R-lage"]}, "'xlm-r-large'"),
    "tasks[0]": ({"tasks": ["nusa-x"]}, "'nusax'"),
    "methods[0]": ({"methods": ["zeroshot"]}, "'zero_shot'"),
    "fusion[1]": ({"fusion": ["mul", "addrelu"]}, "'add_relu'"),
    "languages[1]": ({"languages": ["ace", "java"]}, "'jav'"),
    "data.nusa": ({"data": {"nusa": "sandbox"}}, "'nusax'"),
}


@pytest.mark.parametrize("where", NEAREST)
def test_an_unknown_name_answers_with_the_nearest_and_the_list(load: Load, where: str) -> None:
    changes, nearest = NEAREST[where]
    found = problems(lambda: load(**changes))
    assert set(found) == {where}
    assert found[where].wanted.startswith(f"{nearest} (the nearest), one of: ")
    assert nearest.strip("'") in found[where].wanted.split("one of: ")[1]


def test_an_unknown_key_and_family_in_a_model_of_ones_own(load: Load, fields: dict[str, Any]) -> None:
    model = {**fields["models"][0], "family": "xlmroberta", "famly": "x"}
    found = problems(lambda: load(models=[model]))
    assert found["models[0].family"].wanted.startswith("'xlm_roberta' (the nearest)")
    assert found["models[0].famly"].wanted.startswith("'family' (the nearest), one of: name, family")


BAD_VALUES: dict[str, tuple[dict[str, Any], str]] = {
    "rank[0]": ({"rank": [0, 4]}, "greater than 0"),
    "seeds": ({"seeds": []}, "at least one value"),
    "methods": ({"methods": []}, "at least one value"),
    "models": ({"models": []}, "at least one value"),
    "tasks": ({"tasks": []}, "at least one value"),
    "fusion": ({"fusion": ["mul", "mul"]}, "each value once"),
    "seeds[1]": ({"seeds": [1, "first"]}, "integer"),
    "seeds[0]": ({"seeds": [-1]}, "greater than or equal to 0"),
    "seeds[0] large": ({"seeds": [2**32]}, "less than 4294967296"),
    "name": ({"name": "a/b"}, "pattern"),
    "alpha": ({"alpha": float("inf")}, "finite"),
    "precision": ({"precision": "fp8"}, "'fp32' or 'bf16'"),
    "translation.model": ({"translation": "nllb"}, "nllb-200-distilled-600m"),
    "translation.beams": ({"translation": {"model": "sandbox-nllb", "beams": 0}}, "greater than 0"),
    "training.learning_rate": ({"training": {"learning_rate": float("nan")}}, "finite"),
    "training.warmup": ({"training": {"warmup": 1.5}}, "less than 1"),
    "training.batch_size": ({"training": {"batch_size": 2.5}}, "integer"),
    "base": ({"base": 3}, "dictionary"),
    "resources.zero_stage": ({"resources": {"zero_stage": 4}}, "0, 1, 2 or 3"),
    "storage": ({"storage": 3}, "string"),
    "tracking.uri": ({"tracking": {"uri": 5000}}, "string"),
    "data.nusax": ({"data": {"nusax": 5}}, "string"),
    "models[0]": ({"models": [3]}, "ModelSpec"),
    "[1]": ({1: 2}, "keys are strings"),
    "[1] of yes": ({True: 2}, "keys are strings"),
    "None": ({None: 2}, "keys are strings"),
    "training[1]": ({"training": {1: 2}}, "keys are strings"),
}


@pytest.mark.parametrize("where", BAD_VALUES)
def test_a_bad_value_is_named_by_its_place(fields: dict[str, Any], tmp_path: Path, where: str) -> None:
    changes, wanted = BAD_VALUES[where]
    file = write_sweep(tmp_path / "sweep.yaml", {**fields, **changes})
    found = problems(lambda: load_sweep(file))
    assert set(found) == {where.split()[0]}
    assert wanted in found[where.split()[0]].wanted


@pytest.mark.parametrize("field", ["name", "models", "tasks", "methods", "seeds"])
def test_a_field_without_default_must_be_there(fields: dict[str, Any], tmp_path: Path, field: str) -> None:
    del fields[field]
    file = write_sweep(tmp_path / "sweep.yaml", fields)
    found = problems(lambda: load_sweep(file))
    assert set(found) == {field}
    assert found[field].found == "nothing"


def test_two_models_cannot_share_a_name(load: Load, fields: dict[str, Any]) -> None:
    model = fields["models"][0]
    found = problems(lambda: load(models=[model, {**model, "checkpoint": "org/other"}]))
    assert set(found) == {"models[1].name"}


# ---- files that the sweep names


@pytest.mark.parametrize("checkpoint", ["/no/such/folder", "./nowhere", "some/deep/relative/folder"])
def test_a_checkpoint_that_is_not_there(load: Load, fields: dict[str, Any], checkpoint: str) -> None:
    found = problems(lambda: load(models=[{**fields["models"][0], "checkpoint": checkpoint}]))
    assert set(found) == {"models[0].checkpoint"}
    assert "config.json" in found["models[0].checkpoint"].wanted


@pytest.mark.parametrize("folder", ["/no/such/data", "../nowhere", "some/deep/relative/folder"])
def test_a_data_folder_that_is_not_there(load: Load, folder: str) -> None:
    found = problems(lambda: load(data={"nusax": folder}, languages="all"))
    assert set(found) == {"data.nusax"}
    assert "which is not there" in found["data.nusax"].found
    assert folder.split("/")[-1] in found["data.nusax"].found


def test_a_data_folder_without_a_language(load: Load, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    found = data_problems(lambda: load(data={"nusax": str(tmp_path / "empty")}, languages="all"))
    assert [problem.wanted for problem in found] == ["the train split of eng", "the validation split of eng"]
    write_data(tmp_path / "empty", ["english"])
    (problem,) = data_problems(lambda: load(data={"nusax": str(tmp_path / "empty")}, languages="all"))
    assert problem.found == f"{str(tmp_path / 'empty')!r} with no target language"
    assert "javanese" in problem.wanted


def data_problems(load: Callable[[], Any]) -> list[Problem]:
    with pytest.raises(InputError) as caught:
        load()
    assert {problem.where for problem in caught.value.problems} == {"data.nusax"}
    return list(caught.value.problems)


def test_every_split_of_every_language_must_be_there(load: Load, tmp_path: Path) -> None:
    gone = [tmp_path / "data" / place for place in ("english/valid.csv", "javanese/train.csv")]
    for file in gone:
        file.unlink()
    assert [problem.found for problem in data_problems(load)] == [f"no file {file}" for file in gone]


def test_a_csv_without_its_column_names_the_file_and_the_columns(load: Load, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "data/acehnese/valid.csv", [("6", "x")], header=("id", "text"))
    (problem,) = data_problems(load)
    assert problem.found == f"{file} with the columns id, text"
    assert problem.wanted.startswith("also label")


def test_an_unknown_label_names_its_row(load: Load, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "data/english/test.csv", [("9", "x", "neutral"), ("10", "y", "mixed")])
    share, problem = data_problems(load)
    assert share.found == f"{file}: 1 of 2 rows unusable (1 unknown label)"
    assert problem.found == f"{file}: label 'mixed' in row 10"
    assert problem.wanted == "negative | neutral | positive"


def test_a_broken_csv_is_a_problem_not_a_traceback(load: Load, tmp_path: Path) -> None:
    empty, ragged, latin = (
        tmp_path / "data" / name for name in ("english/train.csv", "english/valid.csv", "acehnese/test.csv")
    )
    empty.write_bytes(b"")
    ragged.write_text("id,text,label\n6,a,b,neutral\n")
    latin.write_bytes("id,text,label\n9,né,neutral\n".encode("latin-1"))
    found = "\n".join(problem.found for problem in data_problems(load))
    assert all(str(file) in found for file in (empty, ragged, latin))


def test_test_ids_without_their_english_row(load: Load, tmp_path: Path) -> None:
    rows = [(9, "x", "negative"), (77, "y", "neutral"), (78, "z", "positive")]
    write_csv(tmp_path / "data/javanese/test.csv", rows)
    (problem,) = data_problems(load)
    assert "2 of 3 ids of the jav test split without an English row (such as 77, 78)" in problem.found


def test_english_may_have_more_rows_than_a_language(load: Load, tmp_path: Path) -> None:
    write_csv(tmp_path / "data/javanese/test.csv", [(10, "x", "neutral")])
    assert len(expand(load()).runs) == 28


def test_languages_that_are_not_asked_for_are_not_looked_at(load: Load, tmp_path: Path) -> None:
    (tmp_path / "data/javanese/test.csv").unlink()
    assert len(expand(load(languages=["ace"])).runs) == 14


def test_data_faults_and_schema_faults_come_in_one_error(load: Load, tmp_path: Path) -> None:
    (tmp_path / "data/javanese/test.csv").unlink()
    assert set(problems(lambda: load(rank=[0], nmae=1))) == {"data.nusax", "rank[0]", "nmae"}


def test_paths_are_made_absolute_where_the_sweep_is_read(
    load: Load, fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers run in folders of their own."""
    monkeypatch.chdir(tmp_path)
    del fields["storage"]
    model = {**fields["models"][0], "checkpoint": "./checkpoint"}
    sweep = load(data={"nusax": "data"}, models=[model])
    assert sweep.data == {"nusax": str(tmp_path / "data")}
    assert sweep.models[0].checkpoint == str(tmp_path / "checkpoint")
    assert sweep.storage == str(tmp_path / "results")
    assert load(storage="out").storage == str(tmp_path / "out")
    assert load(storage="s3://bucket/study").storage == "s3://bucket/study"


# ---- the file itself


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"name: [a, b\nseeds: 1\n", r"line \d+, column \d+"),
        (b"name: x\n\tseeds: [1]\n", r"line 2, column 1"),
        (b"name: \xff\xfe\n", "decode"),
        (b"", "NoneType"),
        (b"- name\n", "list"),
        (b"just words\n", "str"),
    ],
    ids=["bracket", "tab", "not utf-8", "empty", "list", "text"],
)
def test_what_is_not_a_yaml_mapping(tmp_path: Path, content: bytes, found: str) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_bytes(content)
    got = problems(lambda: load_sweep(file))
    assert set(got) == {"FILE"}
    assert re.search(found, got["FILE"].found)


def test_a_file_that_is_not_there_answers_with_the_nearest(load: Load, tmp_path: Path) -> None:
    load()
    found = problems(lambda: load_sweep(tmp_path / "swep.yaml"))
    assert "'sweep.yaml' (the nearest)" in found["FILE"].wanted


# ---- overrides


def test_overrides_are_yaml_values_at_dotted_places(load: Load) -> None:
    sweep = load(
        "training.epochs=3",
        "training.learning_rate=1e-3",
        "languages=[jav]",
        "name=renamed",
        "tracking.uri=http://localhost:5000/?a=b",
        "alpha=null",
        "training.epochs=4",
        alpha=3,
    )
    assert (sweep.training.epochs, sweep.training.learning_rate) == (4, 1e-3)
    assert (sweep.languages, sweep.name, sweep.alpha) == (["jav"], "renamed", None)
    assert sweep.tracking.uri == "http://localhost:5000/?a=b"


def test_an_override_leaves_its_neighbours(load: Load) -> None:
    sweep = load("training.epochs=3", training={"batch_size": 5, "epochs": 9})
    assert (sweep.training.epochs, sweep.training.batch_size) == (3, 5)


def test_an_override_means_the_same_as_the_field_in_the_file(load: Load) -> None:
    assert load("rank=[2]", "base.epochs=1") == load(rank=[2], base={"epochs": 1})


def test_bad_overrides_are_told_together(load: Load) -> None:
    bad = ("training.epochs", "=3", "training..epochs=1", "rank=[4")
    with pytest.raises(InputError) as caught:
        load(*bad)
    assert [(problem.where, problem.found) for problem in caught.value.problems] == [
        ("--set", repr(override)) for override in bad
    ]


def test_an_override_is_validated_like_the_file(load: Load) -> None:
    assert set(problems(lambda: load("training.epoch=3", "rank=[0]"))) == {"training.epoch", "rank[0]"}


def test_a_rule_with_a_value_that_the_sweep_lacks_is_a_problem(load: Load) -> None:
    found = problems(lambda: load(include=[{"method": "flair"}], exclude=[{"rank": 5}, {"language": "jaw"}]))
    assert set(found) == {"include[0].method", "exclude[0].rank", "exclude[1].language"}
    assert "flare" in found["include[0].method"].wanted
    assert "jav" in found["exclude[1].language"].wanted


def test_a_rule_that_says_nothing_is_a_problem(load: Load) -> None:
    rules: list[Any] = [{}, {"method": "flare", "rank": None}, {"learning_rate": []}, {"rank": "8"}]
    found = problems(lambda: load(axes={"learning_rate": [1e-4]}, exclude=rules))
    assert set(found) == {
        "exclude[0]",
        "exclude[1].rank",
        "exclude[2].learning_rate",
        "exclude[3].rank",
    }
    assert found["exclude[1].rank"].found == "nothing"
    assert found["exclude[3].rank"].wanted == "8 without quotes"


def test_one_fault_is_one_problem(load: Load) -> None:
    assert problems(lambda: load(languages="qal"))["languages"].wanted == "'all' or a valid list"
    ranged = {"method": "lora", "space": {"rank": {"lo": 8, "high": 64}}}
    found = problems(lambda: load(searches=[ranged], exclude=[{"model": [1.5]}]))
    assert set(found) == {
        "searches[0].space.rank.low",
        "searches[0].space.rank.lo",
        "exclude[0].model[0]",
    }


def test_a_typo_in_a_method_is_no_fault_of_the_data(load: Load, tmp_path: Path) -> None:
    data = write_data(tmp_path / "alone", ["english", "acehnese"])
    write_csv(data / "acehnese" / "test.csv", [(99, "words", "neutral")])
    changes: dict[str, Any] = {"data": {"nusax": str(data)}, "languages": ["ace"]}
    assert set(problems(lambda: load(methods=["zeroshot", "lora"], **changes))) == {"methods[0]"}
    assert set(problems(lambda: load(methods=["lora", "flare"], **changes))) == {"data.nusax"}


def test_a_checkpoint_in_another_precision_or_quantization_is_another_model(load: Load) -> None:
    plain = {"name": "a", "family": "llama", "checkpoint": "org/x"}
    others = [{**plain, "name": "b", "quantization": "nf4"}, {**plain, "name": "c", "precision": "bf16"}]
    assert len(expand(load(models=[plain, *others])).bases) == 3 * 2
    same = {"precision": "bf16", "models": [plain, others[1]]}
    assert set(problems(lambda: load(**same))) == {"models[1].checkpoint"}


def test_an_unknown_option_of_a_method_names_the_nearest(load: Load) -> None:
    found = problems(lambda: load(methods=["lora", {"name": "flare", "source_offzet": 0}]))
    problem = found["methods[1].source_offzet"]
    assert "'source_offset' (the nearest)" in problem.wanted


def test_a_known_model_can_be_changed_in_part(load: Load) -> None:
    sweep = load(models=[{"name": "llama-3.1-8b", "quantization": "int8"}])
    (model,) = sweep.models
    assert (model.family, model.quantization, model.precision) == ("llama", "int8", "bf16")
    found = problems(lambda: load(models=["llama-3.1-8b"], resources={"zero_stage": 3}))
    assert "llama-3.1-8b in nf4" in found["resources.zero_stage"].found


def test_options_that_contradict_each_other_and_languages_without_a_code_are_problems(load: Load) -> None:
    found = problems(lambda: load(methods=[{"name": "flare", "train_only": True, "test_source": "gold"}]))
    assert "train_only reads no source at test" in found["methods[0]"].wanted
    assert load(methods=["flare_mt"]).methods[0].mt_model == "nllb-200-distilled-600m"


def test_flare_mt_wants_languages_that_its_translator_knows(load: Load, tmp_path: Path) -> None:
    write_data(tmp_path / "mine", ["english", "klingon"])
    found = problems(
        lambda: load(data={"nusax": str(tmp_path / "mine")}, languages="all", methods=["flare_mt"])
    )
    assert "flare_mt on klingon" in found["methods[0]"].found
    search = {"method": "flare_mt", "space": {"rank": [4, 8]}}
    data = {"nusax": str(tmp_path / "mine")}
    found = problems(lambda: load(data=data, languages="all", methods=[], searches=[search]))
    assert "flare_mt on klingon" in found["searches[0].method"].found
