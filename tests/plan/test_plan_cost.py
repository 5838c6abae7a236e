"""Laws of costs: finished runs measure, operations estimate, and what nothing is known of is said."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from flare_ray.plan.cost import Costs, total
from flare_ray.plan.grid import Grid, expand
from flare_ray.plan.load import load_sweep
from flare_ray.plan.schema import Resources, Sweep
from flare_ray.plan.sizes import parameters, speed
from tests.small_study import write_study, write_sweep

TABLE1 = Path(__file__).parents[2] / "sweeps" / "table1.yaml"


def record(seconds: float) -> dict[str, Any]:
    return {"cost": {"wall_seconds": seconds}, "provenance": {"device": "a machine"}}


@pytest.fixture(scope="module")
def study() -> tuple[Sweep, Grid]:
    sweep = load_sweep(TABLE1, ["tasks=[nusax]", "models=[xlm-r-large]", "seeds=[1, 2]"])
    return sweep, expand(sweep)


def costs_of(
    study: tuple[Sweep, Grid], seconds: Mapping[str, float], read: Callable[..., Any] | None = None
) -> Costs:
    return Costs(*study, set(seconds), set(seconds), read or (lambda kind, key: record(seconds[key])))


def of_method(grid: Grid, method: str) -> list[Any]:
    return [run for run in grid.runs if run.cell.method == method]


def test_finished_runs_measure_those_of_their_method_and_no_others(study: tuple[Sweep, Grid]) -> None:
    some, *rest = of_method(study[1], "lora")
    costs = costs_of(study, {some.fingerprint: 77.0})
    assert {costs.of(run).seconds for run in rest} == {77.0}
    assert costs.of(rest[0]).basis == "1 finished on a machine"
    assert "operations" in costs.of(of_method(study[1], "flare")[0]).basis


def test_what_is_measured_grows_as_the_work_does() -> None:
    small = ["tasks=[nusax]", "models=[xlm-r-large]", "methods=[lora]", "seeds=[1]"]
    sweep = load_sweep(TABLE1, [*small, "axes.epochs=[5, 10]"])
    grid = expand(sweep)
    few, many = (one for one in grid.runs if one.cell.language == "ace")
    found = costs_of((sweep, grid), {few.fingerprint: 60.0})
    assert found.of(few).seconds == 60.0
    assert 100 < (found.of(many).seconds or 0) < 120, "test rows are read once"


def test_data_of_an_unknown_size_has_no_estimate(study: tuple[Sweep, Grid]) -> None:
    sweep = load_sweep(TABLE1, ["tasks=[xnli]", "models=[xlm-r-large]", "seeds=[1]", "data.xnli=sandbox"])
    costs = costs_of((sweep, expand(sweep)), {})
    assert {costs.of(run).basis for run in expand(sweep).runs} == {"unknown"}


def test_a_few_records_are_read_whatever_is_finished(study: tuple[Sweep, Grid]) -> None:
    read = []

    def reader(kind: str, key: str) -> dict[str, Any]:
        read.append(key)
        return record(5.0)

    costs = costs_of(study, {run.fingerprint: 5.0 for run in study[1].runs}, reader)
    assert {costs.of(run).seconds for run in study[1].runs} == {5.0}
    assert len(read) == 3 * len({run.cell.method for run in study[1].runs})


def test_estimates_grow_as_the_work_does(study: tuple[Sweep, Grid]) -> None:
    """Epochs and rows count; the ratios are those of counted operations (docs/benchmarks.md)."""
    costs = costs_of(study, {})
    seconds = {
        m: costs.of(of_method(study[1], m)[0]).seconds for m in ("zero_shot", "lora", "flare", "input_fusion")
    }
    assert all(seconds.values())
    lora = seconds["lora"] or 0.0
    assert (seconds["zero_shot"] or 0.0) < 0.1 * lora
    assert 1.0 < (seconds["flare"] or 0.0) / lora < 1.1, "source states are computed once"
    assert (seconds["input_fusion"] or 0.0) / lora == pytest.approx(2.0)


def test_more_devices_take_less_time_and_as_many_hours() -> None:
    hours = []
    for workers in (1, 4):
        sweep = load_sweep(TABLE1, ["tasks=[nusax]", "seeds=[1]", f"resources.workers={workers}"])
        grid = expand(sweep)
        hours.append(total(Costs(sweep, grid, set(), set(), lambda *_: {}), grid.runs).hours)
    assert hours[0] == pytest.approx(hours[1])
    one, four = (speed(Resources(workers=n, gpus_per_worker=1))[0] for n in (1, 4))
    assert four == pytest.approx(4 * one)


def test_what_nothing_is_known_of_is_counted_as_that(tmp_path: Path) -> None:
    sweep = load_sweep(write_sweep(tmp_path / "sweep.yaml", write_study(tmp_path)))  # its config has no sizes
    grid = expand(sweep)
    found = total(Costs(sweep, grid, set(), set(), lambda *_: {}), grid.runs)
    assert (found.hours, found.unknown, found.bases) == (0.0, len(grid.runs), ("unknown",))


def test_parameters_of_a_local_checkpoint_are_those_of_its_layers(small_sandbox: Path) -> None:
    from transformers import AutoModel

    place = small_sandbox / "models" / "sandbox-xlm-r"
    layers = AutoModel.from_pretrained(place).encoder.layer
    wanted = sum(p.numel() for p in layers.parameters() if p.dim() == 2)
    assert parameters(str(place)) == wanted
