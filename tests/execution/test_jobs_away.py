"""A job on a cluster that does not answer, or refuses: what is waited for, and what is wrong input."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import requests
from ray.exceptions import AuthenticationError, RpcError

from flare_ray.errors import InputError
from flare_ray.execution import jobs
from flare_ray.execution.jobs import UNREACHABLE
from tests.job_server import DONE, Cluster, job_on


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 429])
def test_a_proxy_without_a_head_is_waited_for(status: int) -> None:
    error = RuntimeError(f"Request failed with status code {status}: no healthy upstream.")
    job, _, _ = job_on(Cluster([DONE], down=[error] * 5), patience=100)
    assert job.run() == 0
    job, _, said = job_on(Cluster([], down=[error] * 1000), patience=100)
    assert job.run() == UNREACHABLE
    assert f"status code {status}" in said[-1]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Request failed with status code 404: not here."),
        RuntimeError("Module of address scheme htp:// not found"),
        requests.exceptions.InvalidURL("no host"),
        ValueError("working_dir is no folder"),
        requests.HTTPError("405 Client Error: Method Not Allowed"),
        PermissionError("a file of the folder"),
    ],
)
def test_what_a_cluster_refuses_is_wrong_input(error: Exception) -> None:
    with pytest.raises(InputError, match=str(error)):
        job_on(Cluster([], down=[error]))[0].run()


def test_a_folder_that_cannot_be_packed_is_no_cluster_that_is_away() -> None:
    with pytest.raises(InputError, match="--working-dir: found no space left"):
        job_on(Cluster([], down=[OSError("no space left")]))[0].run()


class Deaf(Cluster):
    """Each client's own: the first one's connection for the log is never closed, and carries nothing any more."""

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        yield f"begin of {job}\n"
        await asyncio.sleep(1000)


def test_the_log_goes_on_after_a_head_that_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_QUIET", 0.1)
    cluster = Cluster([DONE])
    deaf = Deaf([], cluster.known, cluster.submitted)
    clients: list[Cluster] = [deaf, cluster]

    def write(text: str) -> None:
        log.append(text)
        deaf.down.append(requests.ConnectionError("reset"))

    job, log, _ = job_on(cluster, connect=lambda: clients.pop(0), write=None)
    job.write = write
    assert job.run() == 0
    assert "".join(log) == "begin of study-1\nend of study-1\n"


FOLLOW = """
import asyncio
from types import SimpleNamespace
from ray.job_submission import JobStatus
from flare_ray.execution import jobs

class Silent:
    asked = 0

    def list_jobs(self):
        self.asked += 1
        if self.asked > 1:
            raise ConnectionError("no route")
        return [SimpleNamespace(submission_id="study-1", status=JobStatus.RUNNING, entrypoint="sweep")]

    async def tail_job_logs(self, job):
        await asyncio.sleep(1000)
        yield "nothing"

jobs._QUIET, cluster = 0.5, Silent()
jobs.Job("study", "sweep", {}, lambda: cluster, lambda text: None, lambda line: print(line, flush=True)).run()
"""


def test_one_interrupt_ends_the_following_of_a_cluster_that_does_not_answer() -> None:
    job = subprocess.Popen(
        [sys.executable, "-c", FOLLOW],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert job.stdout
    try:
        while "does not answer" not in (line := job.stdout.readline()):
            assert line, job.stderr and job.stderr.read()
        job.send_signal(signal.SIGINT)
        _, said = job.communicate(timeout=30)
    finally:
        job.kill()
    assert "KeyboardInterrupt" in said


@pytest.mark.parametrize("error", [ConnectionError, requests.ConnectionError, requests.Timeout, RpcError])
def test_a_cluster_that_does_not_answer_is_waited_for(error: Callable[[str], Exception]) -> None:
    cluster = Cluster([DONE], down=[error("no route")] * 5)
    job, _, said = job_on(cluster, patience=100)
    assert job.run() == 0
    assert sum("does not answer" in line for line in said) == 1, "told once"


def test_but_not_for_ever() -> None:
    cluster = Cluster([], down=[ConnectionError("no route")] * 1000)
    job, _, said = job_on(cluster, patience=100)
    assert job.run() == UNREACHABLE
    assert "has not answered for 100 s: no route" in said[-1]


def test_a_refused_token_is_wrong_input() -> None:
    cluster = Cluster([], down=[AuthenticationError("Authentication required")])
    with pytest.raises(InputError, match="RAY_AUTH_TOKEN"):
        job_on(cluster)[0].run()


def test_an_answer_that_was_lost_does_not_submit_twice() -> None:
    cluster = Cluster([DONE])
    submit = cluster.submit_job

    def loses_its_answer(**facts: Any) -> str:
        cluster.submit_job = submit  # type: ignore[method-assign]
        submit(**facts)
        raise requests.ConnectionError("reset")

    cluster.submit_job = loses_its_answer  # type: ignore[method-assign]
    assert job_on(cluster)[0].run() == 0
    assert [one["submission_id"] for one in cluster.submitted] == ["study-1"]


def test_time_that_is_over_before_the_cluster_answers_is_told() -> None:
    cluster = Cluster([], down=[ConnectionError("no route")] * 1000)
    job, _, said = job_on(cluster, wait_for=10, patience=100)
    assert job.run() == UNREACHABLE
    assert "no job is known to run" in said[-1]
