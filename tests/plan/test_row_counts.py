"""Estimates count the rows that are there; figures of the hub's dataset stand in where none can be counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flare_ray.plan.cost import Costs, total
from flare_ray.plan.grid import Grid, expand
from flare_ray.plan.load import load_sweep
from flare_ray.plan.row_counts import COUNTED, counted, describe_counts
from flare_ray.plan.schema import Resources, Sweep
from flare_ray.plan.sizes import HUB_ROWS
from flare_ray.plan.translation_cost import TranslationCosts
from tests.small_study import FILES, LABELS, write_csv

TABLE1 = Path(__file__).parents[2] / "sweeps" / "table1.yaml"


def write_nusax(folder: Path, train: int, characters: int = 78, test: int = 5) -> Path:
    """A NusaX folder of so many rows, whose texts have so many characters each."""
    for language in ("english", "acehnese", "javanese"):
        for split, rows in {"train": train, "validation": 5, "test": test}.items():
            texts = [f"{number} ".ljust(characters, "a") for number in range(rows)]
            write_csv(
                folder / language / FILES[split],
                [(number, text, LABELS[number % 3]) for number, text in enumerate(texts)],
            )
    return folder


@pytest.fixture
def planned(tmp_path: Path) -> Callable[..., tuple[Sweep, Grid]]:
    def make(data: str, *more: str) -> tuple[Sweep, Grid]:
        options = ["tasks=[nusax]", "models=[xlm-r-large]", "methods=[lora]", "seeds=[1]", "axes={}"]
        sweep = load_sweep(TABLE1, [*options, f"data.nusax={data}", *more])
        return sweep, expand(sweep)

    return make


def seconds(study: tuple[Sweep, Grid]) -> float:
    costs = Costs(*study, set(), set(), lambda *_: {})
    return sum(costs.of(run).seconds or 0.0 for run in study[1].runs if run.cell.language == "ace")


def test_rows_and_tokens_are_those_of_the_files(tmp_path: Path) -> None:
    folder = write_nusax(tmp_path, 40)
    size = counted("nusax", str(folder), "ace", "train")
    assert size is not None
    assert size.rows == 40
    assert size.tokens() == pytest.approx(78 / 4 + 2)
    assert size.tokens(10) == 10
    assert counted("nusax", str(folder), "ban", "train") is None
    assert counted("nusax", "indonlp/NusaX-senti", "ace", "train") is None


def test_a_text_that_repeats_is_translated_once(tmp_path: Path) -> None:
    for language in ("english", "acehnese"):
        for file in FILES.values():
            rows = [(number, "the same words " * 4, LABELS[0]) for number in range(10)]
            write_csv(tmp_path / language / file, rows)
    size = counted("nusax", str(tmp_path), "eng", "train")
    assert size is not None
    assert size.distinct_tokens == pytest.approx(size.tokens() / 10)


def test_a_file_that_changes_is_counted_anew(tmp_path: Path) -> None:
    folder = str(write_nusax(tmp_path, 10))
    first = counted("nusax", folder, "ace", "train")
    write_nusax(tmp_path, 20)
    second = counted("nusax", folder, "ace", "train")
    assert first is not None
    assert second is not None
    assert (first.rows, second.rows) == (10, 20)


def test_an_estimate_follows_the_rows_that_are_there(
    planned: Callable[..., tuple[Sweep, Grid]], tmp_path: Path
) -> None:
    small = planned(str(write_nusax(tmp_path / "small", 50)), "translation=gold")
    large = planned(str(write_nusax(tmp_path / "large", 500)), "translation=gold")
    long = planned(str(write_nusax(tmp_path / "long", 50, characters=158)), "translation=gold")
    hub = planned("indonlp/NusaX-senti", "translation=gold")
    assert seconds(large) / seconds(small) == pytest.approx(10, rel=0.1)
    assert seconds(long) / seconds(small) == pytest.approx((158 / 4 + 2) / (78 / 4 + 2))
    assert seconds(small) < 0.1 * seconds(hub)


def test_the_basis_says_what_the_rows_are(planned: Callable[..., tuple[Sweep, Grid]], tmp_path: Path) -> None:
    def bases(data: str) -> set[str]:
        study = planned(data, "translation=gold")
        return set(total(Costs(*study, set(), set(), lambda *_: {}), study[1].runs).bases)

    here = bases(str(write_nusax(tmp_path, 50)))
    assert all(basis.startswith("operations") and basis.endswith(COUNTED) for basis in here)
    assert all(basis.endswith(HUB_ROWS) for basis in bases("somebody/NusaX-copy"))
    assert not any("rows" in basis for basis in bases("indonlp/NusaX-senti"))


def test_translated_splits_are_counted_in_the_language_they_are_read_in(
    planned: Callable[..., tuple[Sweep, Grid]], tmp_path: Path
) -> None:
    study = planned(str(write_nusax(tmp_path, 50, test=7)), "translation=nllb-200-3.3b")
    costs = TranslationCosts(Resources(), 0, [], lambda *_: {})
    corpora = {corpus.split: corpus for corpus in study[1].corpora if corpus.language == "ace"}
    assert costs.rows(corpora["train"]) == 50
    assert costs.of(corpora["train"]).basis.endswith(COUNTED)
    per_row = {split: (costs.of(one).seconds or 0) / (costs.rows(one) or 1) for split, one in corpora.items()}
    assert per_row["train"] == pytest.approx(per_row["validation"])


def test_a_plan_names_what_it_counted(tmp_path: Path) -> None:
    folder = str(write_nusax(tmp_path, 50))
    line = describe_counts("nusax", folder, ["ace", "jav", "ban"])
    assert line is not None
    assert "50 train rows of about 22 tokens in eng" in line
    assert "5 test rows in ace, jav" in line
    assert describe_counts("nusax", str(tmp_path / "absent"), ["ace"]) is None


def test_a_limited_sweep_counts_the_rows_that_it_reads(
    planned: Callable[..., tuple[Sweep, Grid]], tmp_path: Path
) -> None:
    folder = str(write_nusax(tmp_path / "data", 50))
    line = describe_counts("nusax", folder, ["ace"], limit=8)
    assert line is not None
    assert "8 train rows" in line
    assert "5 test rows in ace" in line
    smoke = planned(folder, "translation=gold", "smoke=true")
    two_epochs = planned(folder, "translation=gold", "limit=8", "training.epochs=2")
    assert seconds(smoke) == pytest.approx(seconds(two_epochs))  # a batch holds all eight rows


def test_the_same_work_of_more_steps_costs_more(
    planned: Callable[..., tuple[Sweep, Grid]], tmp_path: Path
) -> None:
    folder = str(write_nusax(tmp_path / "data", 50))
    study = planned(folder, "translation=gold", "axes={max_steps: [1, 2]}", "training.epochs=9")
    costs = Costs(*study, set(), set(), lambda *_: {})
    found = {run.settings["max_steps"]: costs.of(run).seconds or 0.0 for run in study[1].runs}
    assert found[1] < found[2]
