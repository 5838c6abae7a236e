"""A sweep as a Ray job that is seen to its end: submitted, followed, and submitted again when its driver was lost.

Ray runs a job once, and does not take its submission id again. So the jobs of a sweep are `<sweep>-1`, `<sweep>-2` …:
one that still runs is followed, by whomever it was started; else the next one is submitted, and goes on from what is
stored.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from flare_ray.errors import InputError, Problem

ENDED = (0, 1, 2, 130)
"""Exit codes with which a sweep ends by itself (cli.py); any other one is a driver that was lost."""
UNREACHABLE = 3
"""The exit code when the cluster does not answer, the time is over, or drivers are lost again and again."""
_QUIET = 15.0
"""Seconds without a word of the log after which the job's state is looked at."""
_PAUSE = 5.0
_SETUP = "RUNTIME_ENV_SETUP_FAILURE"


class Unreachable(Exception):
    """The cluster has not answered for as long as was to be waited."""


class TimeOver(Exception):
    """The job goes on, beyond the time for which it was to be followed."""


@dataclass
class Job:
    """A sweep on a cluster.

    connect: makes a `ray.job_submission.JobSubmissionClient`; raises ConnectionError. write: gets the jobs' logs as
    they come; say: lines about the jobs. wait_for: seconds to follow it at most, None for as long as it takes, 0 to
    leave it alone. patience: seconds that the cluster may be unreachable. most: how often it is submitted again.
    """

    sweep: str
    entrypoint: str
    runtime_env: Mapping[str, Any]
    connect: Callable[[], Any]
    write: Callable[[str], None]
    say: Callable[[str], None]
    wait_for: float | None = None
    patience: float = 600.0
    most: int = 10
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _client: Any = None
    _written: dict[str, int] = field(default_factory=dict)

    def run(self) -> int:
        """Sees it to its end; the exit code. Raises InputError for what the cluster refuses, KeyboardInterrupt."""
        self._until = None if self.wait_for is None else self.clock() + self.wait_for
        job, lost = "", 0
        try:
            while True:
                job = self._going() or self._submit()
                if self.wait_for == 0:
                    return 0
                code, why = self._end(job)
                if code is not None:
                    self.say(f"job {job}: {why}")
                    return code
                lost += 1
                if lost > self.most:
                    self.say(
                        f"job {job}: {why}; it was submitted again {self.most} times, and is not any more"
                    )
                    return UNREACHABLE
                self.say(f"job {job}: {why}: submitting it again, what is finished is kept")
        except TimeOver:
            goes_on = f"job {job} goes on: the same command follows it again, `ray job stop {job}` ends it"
            self.say(f"the time is over; {goes_on if job else 'nothing was submitted'}")
        except Unreachable as error:
            self.say(f"the cluster has not answered for {self.patience:.0f} s: {error}")
        return UNREACHABLE

    def _going(self) -> str | None:
        """The sweep's job that has not ended."""
        for job, facts in self._jobs().items():
            if not facts.status.is_terminal():
                if facts.entrypoint != self.entrypoint:
                    wanted = f"no other job of this name; `ray job stop {job}` ends it"
                    raise InputError("submit", [Problem("job", f"{job} at work: {facts.entrypoint}", wanted)])
                self.say(f"job {job} is there already: following it")
                return job
        return None

    def _submit(self) -> str:
        numbers = [int(job.rpartition("-")[2]) for job in self._jobs()]
        job = f"{self.sweep}-{max(numbers, default=0) + 1}"
        metadata = {"job_name": self.sweep, "sweep": self.sweep}
        try:
            self._ask(
                lambda client: client.submit_job(
                    entrypoint=self.entrypoint,
                    submission_id=job,
                    runtime_env=dict(self.runtime_env),
                    metadata=metadata,
                )
            )
        except RuntimeError as error:
            if "already exists" not in str(error):
                raise
            # The answer to an earlier try was lost, or somebody else was quicker.
        self.say(f"job {job}: {self.entrypoint}")
        return job

    def _jobs(self) -> dict[str, Any]:
        """Of this sweep, by submission id."""
        found = {}
        for facts in self._ask(lambda client: client.list_jobs()):
            name, _, number = (facts.submission_id or "").rpartition("-")
            if name == self.sweep and number.isdecimal():
                found[facts.submission_id] = facts
        return found

    def _end(self, job: str) -> tuple[int | None, str]:
        """Writes the job's log until it ends. The exit code, None when its driver was lost; and what became of it."""
        while True:
            with suppress(_LogLost):
                asyncio.run(self._follow(job))
            facts = self._jobs().get(job)
            if facts is None:
                return None, "the cluster does not know it any more"
            if facts.status.is_terminal():
                return verdict(facts)
            self._pause()

    async def _follow(self, job: str) -> None:
        """Writes what of the log was not written yet; returns when the job has ended. Raises _LogLost."""
        position, lines = 0, aiter(self._client.tail_job_logs(job))
        coming = asyncio.ensure_future(anext(lines, None))
        try:
            while True:
                done, _ = await asyncio.wait({coming}, timeout=min(_QUIET, self._left()))
                if not done:
                    self._still_going(job)
                    continue
                try:
                    text = coming.result()
                except Exception as error:  # of aiohttp, of Ray: whatever it is, the job's state tells more
                    raise _LogLost from error
                if text is None:
                    return
                written = self._written.get(job, 0)
                self.write(text[max(0, written - position) :])
                position += len(text)
                self._written[job] = max(written, position)
                coming = asyncio.ensure_future(anext(lines, None))
        finally:
            coming.cancel()

    def _still_going(self, job: str) -> None:
        self._left()
        facts = self._jobs().get(job)
        if facts is None or facts.status.is_terminal():
            raise _LogLost

    def _left(self) -> float:
        """Seconds to follow on. Raises TimeOver."""
        left = _QUIET if self._until is None else self._until - self.clock()
        if left <= 0:
            raise TimeOver
        return left

    def _pause(self) -> None:
        self.sleep(min(_PAUSE, self._left()))

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        """The cluster's answer, as soon as there is one. Raises Unreachable, InputError when the token is refused."""
        import requests
        from ray.exceptions import AuthenticationError

        since: float | None = None
        while True:
            try:
                self._client = self._client or self.connect()
                return question(self._client)
            except AuthenticationError as error:
                wanted = "the cluster's token: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token"
                raise InputError("submit", [Problem("token", str(error).splitlines()[0], wanted)]) from error
            except (ConnectionError, requests.RequestException) as error:
                self._client = None
                if since is None:
                    since = self.clock()
                    self.say(f"the cluster does not answer, trying again for {self.patience:.0f} s: {error}")
                if self.clock() - since >= self.patience:
                    raise Unreachable(str(error)) from error
                self._pause()


class _LogLost(Exception):
    """The log does not come any more."""


def verdict(facts: Any) -> tuple[int | None, str]:
    """The exit code of a job that has ended, None of one whose driver was lost; and why, in words.

    facts: Ray's JobDetails.
    """
    status, code = str(facts.status), facts.driver_exit_code
    if status == "SUCCEEDED":
        return 0, "all runs are finished"
    if status == "STOPPED":
        return 130, "stopped; what is finished is kept"
    if facts.error_type == _SETUP:
        return 2, f"its environment could not be set up: {facts.message}"
    if code in ENDED:
        return code, f"ended with exit code {code}"
    return None, f"its driver was lost ({facts.error_type or 'no word'}, exit code {code})"
