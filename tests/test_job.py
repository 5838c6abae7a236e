"""A sweep as a job of a real Ray with token authentication: refused, submitted, followed, killed, stopped."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.ray_cluster import RayCluster
from tests.test_main_job import mlflow_runs, records

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[1]
FLARE_RAY = str(Path(sys.executable).with_name("flare-ray"))
Fields = Callable[..., dict[str, Any]]
Write = Callable[[dict[str, Any]], Path]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    with RayCluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


def ray_job(cluster: RayCluster, *words: str, env: dict[str, str] | None = None) -> Any:
    command = [str(cluster.ray), "job", words[0], "--address", cluster.url, *words[1:]]
    environment = env or cluster.environment
    return subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )


class Submitted:
    """`flare-ray submit` beside the test. words: its options."""

    def __init__(self, cluster: RayCluster, file: Path, *words: str):
        command = [FLARE_RAY, "submit", file.name, "--address", cluster.url]
        self.log = file.parent / "submit.log"
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(
                [*command, "--working-dir", ".", "--patience", "60", *words],
                env=cluster.environment,
                cwd=file.parent,
                stdout=stream,
                stderr=stream,
            )

    def text(self) -> str:
        return self.log.read_text()

    def until(self, said: str, seconds: float = 300) -> str:
        """Waits for it to say this; what matched."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(said, self.text())):
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.2)
        return found[0]

    def end(self) -> int:
        return self.process.wait(600)


def jobs_of(cluster: RayCluster) -> dict[str, Any]:
    return {one["submission_id"]: one for one in cluster.ask("/api/jobs/") if one["submission_id"]}


def driver_of(file: Path, cluster: RayCluster) -> psutil.Process:
    """The process of the sweep itself, by its command line among this head's own processes."""
    for process in cluster.processes():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if "flare_ray.sweep" in words and file.name in words:
            return process
    raise AssertionError("no driver")


def test_without_the_token_nothing_is_submitted(cluster: RayCluster) -> None:
    before = jobs_of(cluster).keys()
    wrong = {**cluster.stranger, "RAY_AUTH_TOKEN": "0" * 64}
    for environment in (cluster.stranger, wrong, {**cluster.stranger, "RAY_AUTH_MODE": "disabled"}):
        done = ray_job(cluster, "submit", "--no-wait", "--", "echo", "in", env=environment)
        assert done.returncode != 0, done.stdout + done.stderr
        assert "uthenticat" in done.stdout + done.stderr
    assert jobs_of(cluster).keys() == before


def test_a_stranger_gets_no_job_and_exit_code_2(
    cluster: RayCluster, sweep_of: Fields, write_sweep: Write
) -> None:
    file = write_sweep(sweep_of())
    command = [FLARE_RAY, "submit", file.name, "--address", cluster.url]
    wrong = {**cluster.stranger, "RAY_AUTH_TOKEN": "0" * 64}
    done = subprocess.run(
        command, env=wrong, cwd=file.parent, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "the cluster's token" in done.stderr
    assert "0" * 64 not in done.stdout + done.stderr


def test_a_job_is_followed_to_its_table_and_its_records(
    cluster: RayCluster, sweep_of: Fields, write_sweep: Write
) -> None:
    fields = sweep_of(resources={"price_per_hour": 3600.0})
    file = write_sweep(fields)
    words = ["--working-dir", str(ROOT), "--metadata-json", json.dumps({"sweep": "small"}), "--"]
    command = [str(cluster.ray), "job", "submit", "--address", cluster.url, *words]
    log = file.parent / "job.log"
    with log.open("wb") as stream:
        job = subprocess.Popen(
            [*command, "python", "-m", "flare_ray.sweep", str(file)],
            env=cluster.environment,
            cwd=ROOT,
            stdout=stream,
            stderr=stream,
        )
    sample = cluster.sample_when(lambda found: found.get("ray_flare_ray_stages_running"), seconds=200)
    assert sum(sample["ray_flare_ray_runs"].values()) == 6, "finished, failed and left"
    assert sum(sample["ray_flare_ray_devices_reserved"].values()) >= 1
    assert job.wait(500) == 0, log.read_text()

    text = log.read_text()
    assert re.search(r"\n\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[3/6, 0:\d\d:\d\d left\] tiny/nusax/", text), text
    assert "\r" not in text, "nothing is drawn over"
    assert "flare (add_relu, r=4)" in text, "the table"
    assert "succeeded" in text
    kept = records(fields["storage"])
    assert len(kept) == 6
    runs = mlflow_runs(fields["storage"], "small/nusax")
    assert sorted(run.data.tags["flare_ray.fingerprint"] for run in runs) == sorted(kept)

    sample = cluster.sample_when(lambda found: found.get("ray_flare_ray_trained_tokens_total"))
    [spent] = sample["ray_flare_ray_device_seconds_total"].values()
    assert sum(sample["ray_flare_ray_cost_total"].values()) == pytest.approx(spent)
    trained = [one["cost"] for kind in ("runs", "bases") for one in _records(fields["storage"], kind)]
    tokens = sum(one.get("tokens_per_second", 0) * one["train_seconds"] for one in trained)
    assert sum(sample["ray_flare_ray_trained_tokens_total"].values()) == pytest.approx(tokens)


def _records(storage: str, kind: str) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in Path(storage).glob(f"{kind}/*/record.json")]


def test_a_killed_driver_is_submitted_again_and_goes_on(
    cluster: RayCluster, sweep_of: Fields, write_sweep: Write
) -> None:
    fields = sweep_of(name="killed", languages=["qal"], seeds=[1, 2])
    file = write_sweep(fields)
    submitted = Submitted(cluster, file)
    submitted.until(r"\[1/6.*")
    driver_of(file, cluster).kill()
    submitted.until("job killed-1: its driver was lost .*: submitting it again")
    before = records(fields["storage"])
    assert submitted.end() == 0, submitted.text()
    text = submitted.text()
    assert "job killed-2: all runs are finished" in text
    assert "flare (add_relu, r=4)" in text, "the table"
    after = records(fields["storage"])
    assert len(after) == 6
    assert before
    assert all(after[key] == record for key, record in before.items()), "nothing is trained twice"
    runs = mlflow_runs(fields["storage"], "killed/nusax")
    assert sorted(run.data.tags["flare_ray.fingerprint"] for run in runs) == sorted(after)
    facts = jobs_of(cluster)
    assert facts["killed-1"]["status"] == "FAILED"
    assert facts["killed-2"]["metadata"]["sweep"] == "killed"


def test_a_job_that_is_stopped_stops_at_a_checkpoint(
    cluster: RayCluster, sweep_of: Fields, write_sweep: Write
) -> None:
    training = {"epochs": 400, "batch_size": 32, "learning_rate": 1e-3, "max_length": 32}
    fields = sweep_of(name="stopped", languages=["qal"], methods=["lora"], training=training)
    file = write_sweep(fields)
    submitted = Submitted(cluster, file)
    submitted.until("base model")
    deadline = time.monotonic() + 300
    while not list(Path(fields["storage"]).glob("bases/*/record.json")):
        assert time.monotonic() < deadline, submitted.text()
        time.sleep(0.2)
    time.sleep(5)
    assert ray_job(cluster, "stop", "stopped-1").returncode == 0
    assert submitted.end() == 130, submitted.text()
    text = submitted.text()
    assert "stopping at the next checkpoint" in text
    assert "Stopped. What is finished is kept" in text
    assert "job stopped-1: stopped; what is finished is kept" in text
    assert not records(fields["storage"])
    assert list(Path(fields["storage"]).glob("checkpoints/*/*")), "it had the time to keep one"


def test_wrong_input_in_the_driver_is_the_exit_code_of_the_job(
    cluster: RayCluster, sweep_of: Fields, write_sweep: Write
) -> None:
    submitted = Submitted(cluster, write_sweep(sweep_of(name="wrong")), "--set", "methods=[flaer]")
    assert submitted.end() == 2, submitted.text()
    assert "flaer" in submitted.text()
    assert [job for job in jobs_of(cluster) if job.startswith("wrong")] == ["wrong-1"], "once"


def test_ctrl_c_leaves_the_job_and_the_same_command_follows_it(
    cluster: RayCluster, sweep_of: Fields, write_sweep: Write
) -> None:
    file = write_sweep(sweep_of(name="left", languages=["qal"], methods=["zero_shot"]))
    first = Submitted(cluster, file)
    first.until("Running entrypoint")
    first.process.send_signal(signal.SIGINT)
    assert first.end() == 130, first.text()
    again = Submitted(cluster, file)
    assert again.end() == 0, again.text()
    assert "job left-1 is there already: following it" in again.text()
    assert "zero_shot" in again.text()
    assert [job for job in jobs_of(cluster) if job.startswith("left")] == ["left-1"]
