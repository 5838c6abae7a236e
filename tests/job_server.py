"""A job server that is no Ray: jobs that end as told, logs that break off, answers that do not come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from ray.dashboard.modules.job.pydantic_models import JobDetails
from ray.job_submission import JobStatus

from flare_ray.execution.jobs import Job


def details(job: str, status: str, code: int | None = None, **facts: Any) -> JobDetails:
    given = {"entrypoint": "python sweep", "driver_exit_code": code, "driver_node_id": "head"} | facts
    return JobDetails(type="SUBMISSION", submission_id=job, status=JobStatus(status), **given)


Ending = tuple[str, int | None]
LOST: Ending = ("FAILED", None)
DONE: Ending = ("SUCCEEDED", 0)


@dataclass
class Cluster:
    """A job server.

    endings: of its jobs in turn. tears: how often a job's log breaks off in its middle. node: where drivers start.
    """

    endings: list[Ending]
    known: dict[str, JobDetails] = field(default_factory=dict)
    submitted: list[dict[str, Any]] = field(default_factory=list)
    tears: int = 0
    down: list[Exception] = field(default_factory=list)
    node: str | None = "head"

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
        self.known[job] = details(job, status, code, driver_node_id=self.node)

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
