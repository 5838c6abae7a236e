"""A job seen to its end: exit codes, lost drivers, a log that breaks off, a cluster that does not answer."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
from ray.dashboard.modules.job.pydantic_models import JobDetails
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus

from flare_ray.errors import InputError
from flare_ray.execution.jobs import UNREACHABLE, Job, verdict


def details(job: str, status: str, code: int | None = None, **facts: Any) -> JobDetails:
    given = {"entrypoint": "python sweep", "driver_exit_code": code} | facts
    return JobDetails(type="SUBMISSION", submission_id=job, status=JobStatus(status), **given)


Ending = tuple[str, int | None]
LOST: Ending = ("FAILED", None)
DONE: Ending = ("SUCCEEDED", 0)


@dataclass
class Cluster:
    """A job server. endings: of its jobs in turn. tears: how often a job's log breaks off in its middle."""

    endings: list[Ending]
    known: dict[str, JobDetails] = field(default_factory=dict)
    submitted: list[dict[str, Any]] = field(default_factory=list)
    tears: int = 0
    down: list[Exception] = field(default_factory=list)

    def list_jobs(self) -> list[JobDetails]:
        self._answer()
        return list(self.known.values())

    def submit_job(self, **facts: Any) -> str:
        self._answer()
        job = facts["submission_id"]
        if job in self.known:
            raise RuntimeError(f"Request failed: Job with submission_id {job} already exists.")
        self.submitted.append(facts)
        self.known[job] = details(job, "RUNNING", entrypoint=facts["entrypoint"])
        return str(job)

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        yield f"begin of {job}\n"
        if self.tears:
            self.tears -= 1
            raise RuntimeError("WebSocket connection closed unexpectedly")
        yield f"end of {job}\n"
        status, code = self.endings.pop(0)
        self.known[job] = details(job, status, code)

    def _answer(self) -> None:
        if self.down:
            raise self.down.pop(0)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def job_on(cluster: Cluster, **settings: Any) -> tuple[Job, list[str], list[str]]:
    log, said, clock = list[str](), list[str](), Clock()
    given = {"connect": lambda: cluster, "write": log.append, "say": said.append}
    times = {"clock": clock, "sleep": clock.sleep}
    return Job("study", "python sweep", {"env_vars": {}}, **{**given, **times, **settings}), log, said


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (("SUCCEEDED", 0), 0),
        (("FAILED", 1), 1),
        (("FAILED", 2), 2),
        (("FAILED", 130), 130),
        (("STOPPED", None), 130),
    ],
)
def test_a_sweep_that_ends_by_itself_gives_its_exit_code(ending: Ending, code: int) -> None:
    cluster = Cluster([ending])
    job, log, _ = job_on(cluster)
    assert job.run() == code
    assert "".join(log) == "begin of study-1\nend of study-1\n"
    assert [one["submission_id"] for one in cluster.submitted] == ["study-1"]
    assert cluster.submitted[0]["metadata"] == {"job_name": "study", "sweep": "study"}


@pytest.mark.parametrize("code", [None, -9, 137, 143, 134])
def test_a_lost_driver_is_submitted_again_under_the_next_id(code: int | None) -> None:
    cluster = Cluster([("FAILED", code), ("FAILED", code), DONE])
    job, log, _ = job_on(cluster)
    assert job.run() == 0
    assert [one["submission_id"] for one in cluster.submitted] == ["study-1", "study-2", "study-3"]
    assert "".join(log).count("end of") == 3


def test_drivers_that_are_lost_again_and_again_are_given_up() -> None:
    cluster = Cluster([LOST] * 9)
    job, _, said = job_on(cluster, most=2)
    assert job.run() == UNREACHABLE
    assert len(cluster.submitted) == 3
    assert "submitted again 2 times" in said[-1]


def test_an_environment_that_cannot_be_set_up_is_wrong_input() -> None:
    code, why = verdict(
        details("a-1", "FAILED", error_type="RUNTIME_ENV_SETUP_FAILURE", message="no such package")
    )
    assert code == 2
    assert "no such package" in why


def test_the_next_id_is_behind_all_that_the_cluster_knows_of_this_sweep() -> None:
    known = [
        details("study-7", "SUCCEEDED", 0),
        details("study-10", "FAILED", 1),
        details("study-two-30", "RUNNING"),
        details("other-99", "RUNNING"),
        details("study-mine", "RUNNING"),
    ]
    cluster = Cluster([DONE], {str(one.submission_id): one for one in known})
    assert job_on(cluster)[0].run() == 0
    assert [one["submission_id"] for one in cluster.submitted] == ["study-11"]


def test_a_job_that_still_runs_is_followed() -> None:
    cluster = Cluster([DONE], {"study-4": details("study-4", "RUNNING")})
    job, log, _ = job_on(cluster)
    assert job.run() == 0
    assert not cluster.submitted
    assert "end of study-4" in "".join(log)


def test_another_command_for_the_same_sweep_is_refused_while_one_runs() -> None:
    cluster = Cluster([], {"study-4": details("study-4", "RUNNING", entrypoint="python sweep --set a=1")})
    with pytest.raises(InputError, match="study-4 at work"):
        job_on(cluster)[0].run()


def test_a_log_that_breaks_off_goes_on_where_it_was() -> None:
    cluster = Cluster([DONE], tears=3)
    job, log, _ = job_on(cluster)
    assert job.run() == 0
    assert "".join(log) == "begin of study-1\nend of study-1\n"


def test_a_cluster_that_forgot_the_job_gets_it_again() -> None:
    cluster = Cluster([DONE, DONE])
    follow = cluster.tail_job_logs

    async def forgets(job: str) -> AsyncIterator[str]:
        cluster.known.clear()
        cluster.tail_job_logs = follow  # type: ignore[method-assign]
        yield "a long log of many lines, longer than the next one's\n"

    cluster.tail_job_logs = forgets  # type: ignore[method-assign]
    job, log, said = job_on(cluster)
    assert job.run() == 0
    assert [one["submission_id"] for one in cluster.submitted] == ["study-1", "study-1"], (
        "the new head knows none"
    )
    assert "".join(log[1:]) == "begin of study-1\nend of study-1\n"
    assert any("does not know it any more" in line for line in said)


def test_a_command_that_cannot_start_is_not_tried_again() -> None:
    cluster = Cluster([("FAILED", 127)])
    job, _, said = job_on(cluster)
    assert job.run() == 2
    assert len(cluster.submitted) == 1
    assert "cannot be started" in said[-1]


def test_between_lost_drivers_there_is_more_and_more_time() -> None:
    cluster = Cluster([("FAILED", 137)] * 4 + [("FAILED", 75)] * 4 + [DONE])
    job, _, said = job_on(cluster)
    pauses, sleep = [], job.sleep
    job.sleep = lambda seconds: (pauses.append(seconds), sleep(seconds))[1]
    assert job.run() == 0
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300]
    assert sum("could not reach a service" in line for line in said) == 4


def test_drivers_that_got_on_are_lost_as_often_as_it_takes() -> None:
    """Ten losses in a week are not ten in a row."""
    cluster = Cluster([LOST] * 30 + [DONE])
    job, _, _ = job_on(cluster, most=2)
    tail, clock = cluster.tail_job_logs, job.clock

    async def lives(name: str) -> AsyncIterator[str]:
        clock.sleep(700)  # type: ignore[attr-defined]
        async for text in tail(name):
            yield text

    cluster.tail_job_logs = lives  # type: ignore[method-assign]
    assert job.run() == 0
    assert len(cluster.submitted) == 31


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
    ],
)
def test_what_a_cluster_refuses_is_wrong_input(error: Exception) -> None:
    with pytest.raises(InputError, match=str(error)):
        job_on(Cluster([], down=[error]))[0].run()


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


@pytest.mark.parametrize("error", [ConnectionError, requests.ConnectionError, requests.Timeout])
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


def test_it_can_be_left_alone() -> None:
    cluster = Cluster([])
    job, log, _ = job_on(cluster, wait_for=0)
    assert job.run() == 0
    assert len(cluster.submitted) == 1
    assert not log


def test_it_is_followed_no_longer_than_wanted() -> None:
    cluster = Cluster([], tears=10_000)
    job, _, said = job_on(cluster, wait_for=60)
    assert job.run() == UNREACHABLE
    assert "study-1 goes on" in said[-1]
    assert len(cluster.submitted) == 1


def test_time_that_is_over_before_the_cluster_answers_is_told() -> None:
    cluster = Cluster([], down=[ConnectionError("no route")] * 1000)
    job, _, said = job_on(cluster, wait_for=10, patience=100)
    assert job.run() == UNREACHABLE
    assert "nothing was submitted" in said[-1]
