"""Laws of disk: finished records measure, parameters count, and nothing is added for what is finished."""

from pathlib import Path

import pytest

from flare_ray.plan.disk import Disk, in_flight
from flare_ray.plan.grid import Base, Grid, Run, expand
from flare_ray.plan.load import load_sweep
from tests.small_study import write_study, write_sweep

TABLE1 = Path(__file__).parents[2] / "sweeps" / "table1.yaml"


@pytest.fixture(scope="module")
def grid() -> Grid:
    return expand(load_sweep(TABLE1, ["tasks=[nusax]", "seeds=[1, 2]", "rank=[8, 64]"]))


def nothing(kind: str, fingerprint: str) -> None:
    return None


def some_run(grid: Grid, model: str, method: str, rank: int | None = None) -> Run:
    wanted = (model, method, rank)
    return next(
        run for run in grid.runs if (run.cell.model.name, run.cell.method, run.settings.get("rank")) == wanted
    )


def some_base(grid: Grid, model: str) -> Base:
    return next(base for base in grid.bases if base.model.name == model)


def test_a_base_model_is_a_whole_checkpoint_never_quantised(grid: Grid) -> None:
    """Llama trains in NF4 and is kept in bf16: 8.03e9 × 2 bytes, and a tokenizer; XLM-R: 0.558e9 × 2."""
    disk = Disk([], nothing)
    assert disk.of(some_base(grid, "llama-3.1-8b")).bytes == pytest.approx(8.03e9 * 2 + 20e6, rel=0.001)
    assert disk.of(some_base(grid, "xlm-r-large")).bytes == pytest.approx(0.558e9 * 2 + 20e6, rel=0.001)
    assert "counted" in disk.of(some_base(grid, "xlm-r-large")).basis


def test_a_run_is_its_adapter_in_fp32(grid: Grid) -> None:
    """XLM-R large: queries and values of 24 layers, 1,024 wide on both sides, and a head of 1,024²."""
    disk = Disk([], nothing)
    of = {rank: disk.of(some_run(grid, "xlm-r-large", "lora", rank)).bytes or 0.0 for rank in (8, 64)}
    assert of[8] == pytest.approx(4 * (8 * 24 * 2 * 2048 + 1024**2), rel=0.01)
    assert of[64] - of[8] == 4 * 56 * 24 * 2 * 2048
    assert (disk.of(some_run(grid, "xlm-r-large", "zero_shot")).bytes or 0.0) < 1e5, "nothing is trained"


def test_flare_mt_keeps_its_projection_too(grid: Grid) -> None:
    """From the 600M translator's 1,024 to the model's width, 4,096 for Llama."""
    disk = Disk([], nothing)
    one, other = (
        disk.of(some_run(grid, "llama-3.1-8b", method, 8)).bytes or 0.0 for method in ("flare_mt", "flare")
    )
    assert one - other == 4 * 4096 * 1024


def test_finished_work_measures_that_of_its_kind(grid: Grid) -> None:
    runs = [run for run in grid.runs if run.cell.method == "lora" and run.settings["rank"] == 8]
    first, corpus = runs[0], grid.corpora[0]
    asked = []

    def size(kind: str, fingerprint: str) -> float:
        asked.append((kind, fingerprint))
        return 1000.0

    disk = Disk([first, corpus], size)
    mine = [run for run in runs if run.cell.model == first.cell.model]
    assert {disk.of(run).bytes for run in mine} == {1000.0}
    assert disk.of(mine[-1]).basis == "finished ones"
    assert "counted" in disk.of(some_run(grid, first.cell.model.name, "lora", 64)).basis
    assert disk.of(corpus).bytes == 3000.0, "the translation memory has its texts in both languages"
    assert asked == [("runs", first.fingerprint), ("corpora", corpus.fingerprint)], "each once"


def test_a_split_is_the_letters_of_its_texts(grid: Grid) -> None:
    corpus = next(one for one in grid.corpora if one.split == "train")
    assert Disk([], nothing).of(corpus).bytes == 500 * 45 * 4 * 3


def test_more_left_takes_more_and_nothing_left_nothing(grid: Grid) -> None:
    disk, works = Disk([], nothing), [*grid.bases, *grid.corpora, *grid.runs]
    sums = [sum(disk.total(works[:count]).bytes.values()) for count in range(0, len(works) + 1, 50)]
    assert sums[0] == 0.0
    assert sums == sorted(sums)
    whole = disk.total(works)
    assert sum(whole.bytes.values()) == pytest.approx(sum(disk.of(work).bytes or 0.0 for work in works))
    assert whole.unknown == 0


def test_checkpoints_in_flight_are_those_of_the_largest_adapters(grid: Grid) -> None:
    """Weights, best weights and two moments, in fp32; a base model's rank is 64 as well."""
    lora = [run for run in grid.runs if run.cell.model.name == "xlm-r-large" and run.cell.method == "lora"]
    largest = 4 * (64 * 24 * 2 * 2048 + 1024**2)
    assert in_flight(lora, 1) == 4 * largest
    assert in_flight(lora, 8) == 8 * in_flight(lora, 1)
    assert in_flight([], 8) == 0.0


def test_what_nothing_is_known_of_is_counted_as_that(tmp_path: Path) -> None:
    small = expand(load_sweep(write_sweep(tmp_path / "sweep.yaml", write_study(tmp_path))))
    trained = [run for run in small.runs if run.cell.method != "zero_shot"]
    found = Disk([], nothing).total([*small.bases, *trained])
    assert (found.unknown, sum(found.bytes.values())) == (len(small.bases) + len(trained), 0.0)
