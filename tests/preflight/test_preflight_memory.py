"""What a worker needs, against counted parameters of checkpoints whose files' sizes are known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_study import write_study, write_sweep

from flare_ray.plan.grid import expand
from flare_ray.plan.load import load_sweep
from flare_ray.plan.schema import Resources
from flare_ray.plan.stages import stages
from flare_ray.preflight.memory import need_of
from flare_ray.preflight.probe import Gpu, Node, parsed
from flare_ray.preflight.sweep import memory_findings

GIB = 2**30


def node(*gpus: Gpu, memory: float = 64 * GIB) -> Node:
    return Node("one", {}, "", 0.0, memory, "/", 1e12, gpus or None, "", {})


@pytest.fixture
def found(tmp_path: Path) -> Callable[..., list[Any]]:
    study = write_study(tmp_path)

    def of(model: Any, nodes: list[Node], more: bool = False, **resources: Any) -> list[Any]:
        fields = study | {"models": [model], "languages": ["ace"], "seeds": [1]}
        sweep = load_sweep(write_sweep(tmp_path / "sweep.yaml", fields | {"resources": resources}))
        todo = stages(expand(sweep), (), (), 8)
        return list(memory_findings(todo, sweep.resources_of, sweep.resources, nodes, more))

    return of


def test_weights_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    fields = write_study(tmp_path) | {"models": ["llama-3.1-8b", "xlm-r-large"], "languages": ["ace"]}
    grid = expand(load_sweep(write_sweep(tmp_path / "sweep.yaml", fields)))
    needs = {run.cell.model.name: need_of(run, Resources()) for run in grid.runs}
    llama, xlm_r = needs["llama-3.1-8b"], needs["xlm-r-large"]
    assert llama
    assert xlm_r
    assert xlm_r.weights == pytest.approx(560e6 * 2, rel=0.01)  # bf16, of 560 M parameters
    # NF4 of the layers (7.0 G), bf16 of the vocabulary's two matrices (1.05 G)
    assert llama.weights == pytest.approx(6.98e9 * 0.516 + 1.05e9 * 2, rel=0.01)
    assert llama.whole > llama.weights


def test_zero_3_cuts_the_weights_and_quantisation_packs_them(tmp_path: Path) -> None:
    model = {"name": "llama-3.1-8b", "quantization": "none"}
    fields = write_study(tmp_path) | {"models": [model], "languages": ["ace"]}
    run = expand(load_sweep(write_sweep(tmp_path / "sweep.yaml", fields))).runs[-1]
    whole, cut = need_of(run, Resources()), need_of(run, Resources(zero_stage=3, workers=8))
    assert whole
    assert cut
    assert whole.weights == pytest.approx(16.06e9, rel=0.01)
    assert cut.weights == pytest.approx(whole.weights / 8)


LLAMA = {"name": "llama-3.1-8b", "quantization": "none"}
OLD, MIDDLE, LARGE = (
    Gpu("NVIDIA T4", 12 * GIB),
    Gpu("NVIDIA L4", 22.5 * GIB),
    Gpu("NVIDIA H100 80GB", 80 * GIB),
)


@pytest.mark.parametrize(("gpu", "state"), [(OLD, "bad"), (MIDDLE, "warning"), (LARGE, "good")])
def test_weights_that_fit_no_gpu_are_fatal_and_batches_that_do_not_are_told(
    found: Callable[..., list[Any]], gpu: Gpu, state: str
) -> None:
    (one,) = found(LLAMA, [node(gpu)], gpus_per_worker=1)
    assert one.state == state
    assert gpu.name in one.found
    assert bool(one.remedy) == (state != "good")


def test_a_share_of_a_gpu_has_that_share_of_its_memory(found: Callable[..., list[Any]]) -> None:
    (one,) = found(LLAMA, [node(MIDDLE)], gpus_per_worker=0.5)
    assert one.state == "bad"


def test_a_cluster_of_two_kinds_wants_one_to_be_named(found: Callable[..., list[Any]]) -> None:
    (one,) = found(LLAMA, [node(OLD), node(LARGE)], gpus_per_worker=1)
    assert one.state == "warning"
    assert "accelerator_type" in one.remedy
    (one,) = found(LLAMA, [node(OLD), node(LARGE)], gpus_per_worker=1, accelerator_type="H100")
    assert one.good


def test_without_gpus_it_is_the_machines_memory(found: Callable[..., list[Any]]) -> None:
    (one,) = found(LLAMA, [node(memory=8 * GIB)])
    assert one.state == "bad"
    assert "8 GiB on one's memory" in one.found
    (one,) = found(LLAMA, [node(memory=256 * GIB)])
    assert one.good


def test_nodes_to_come_may_have_what_those_that_are_there_lack(found: Callable[..., list[Any]]) -> None:
    (one,) = found(LLAMA, [node(OLD)], more=True, gpus_per_worker=1)
    assert one.state == "warning"


def test_gpus_that_nobody_sees_are_one_warning(found: Callable[..., list[Any]]) -> None:
    (one,) = found(LLAMA, [node()], gpus_per_worker=1)
    assert (one.what, one.state) == ("GPUs", "warning")
    assert "llama-3.1-8b on nusax takes most" in one.found


def test_what_nvidia_smi_says_is_read() -> None:
    said = "NVIDIA A100-SXM4-80GB, 81920\nNVIDIA H100, 80GB, PCIe, 81559\nNVIDIA GB10, [N/A]\n"
    assert parsed(said) == (
        Gpu("NVIDIA A100-SXM4-80GB", 80 * GIB),
        Gpu("NVIDIA H100, 80GB, PCIe", 81559 * 2**20),
    )
