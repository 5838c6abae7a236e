"""A sweep as a Ray job that is seen to its end: submitted, followed, and submitted again when its driver was lost.

Ray runs a job once, and does not take its submission id again. So the jobs of a sweep are `<sweep>-1`, `<sweep>-2` …:
one that still runs is followed, by whomever it was started; else the next one is submitted, and goes on from what is
stored.
"""

from __future__ import annotations

import asyncio
import queue
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from flare_ray.errors import UNREACHABLE as SERVICE_AWAY
from flare_ray.errors import InputError, Problem

ENDED = (0, 1, 2, 130)
"""Exit codes with which a sweep ends by itself (cli.py); any other one is a driver that was lost."""
UNREACHABLE = 3
"""The exit code when the cluster does not answer, the time is over, or drivers are lost again and again."""
_QUIET = 15.0
"""Seconds without a word of the log after which the job's state is looked at."""
_PAUSE = 5.0
_LONGEST_PAUSE = 300.0
"""Between a lost driver and the next one: `_PAUSE`, doubled each time, and no longer than this."""
_LIVED = 600.0
"""Seconds after which a driver that was started has done something: losses before it are not counted any more."""
_CANNOT_START = (126, 127)
_PASSING = re.compile(r"(^|status code )(5\d\d|408|429)\b")
"""In what Ray's client says of an answer, and `requests` of one when the client begins."""
_EXISTS = "already exists"
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
    at_work: the job that has not ended, as far as is known.
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
    at_work: str = field(default="", init=False)
    _client: Any = None
    _written: dict[str, int] = field(default_factory=dict)

    def run(self) -> int:
        """Sees it to its end; the exit code. Raises InputError for what the cluster refuses, KeyboardInterrupt."""
        self._until = None if self.wait_for is None else self.clock() + self.wait_for
        lost = 0
        try:
            while True:
                job = self.at_work = self._going() or self._submit()
                began = self.clock()
                if self.wait_for == 0:
                    return 0
                facts = self._end(job)
                code, why = verdict(facts)
                self.at_work = ""
                if code is not None:
                    self.say(f"job {job}: {why}")
                    return code
                lost = 1 if _started(facts) and self.clock() - began >= _LIVED else lost + 1
                if lost > self.most:
                    often = f"it was submitted again {self.most} times, and is not any more"
                    self.say(f"job {job}: {why}; {often}")
                    return UNREACHABLE
                self.say(f"job {job}: {why}: submitting it again, what is finished is kept")
                self._pause(min(_PAUSE * 2 ** (lost - 1), _LONGEST_PAUSE))
        except TimeOver:
            self.say(f"the time is over; {self.left_alone()}")
        except Unreachable as error:
            self.say(f"the cluster has not answered for {self.patience:.0f} s: {error}")
        return UNREACHABLE

    def left_alone(self) -> str:
        """What becomes of the sweep when it is not followed any more, in words."""
        if not self.at_work:
            return "no job is known to run: the same command follows one that does, or submits the next"
        return f"job {self.at_work} goes on: the same command follows it again, `ray job stop {self.at_work}` ends it"

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
        self._written.pop(job, None)  # an earlier head may have had one of this name
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
            if _EXISTS not in str(error):
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

    def _end(self, job: str) -> Any:
        """Writes the job's log until it ends. What Ray knows of it then, None if that is nothing."""
        while True:
            self._follow(job)
            facts = self._jobs().get(job)
            if facts is None or facts.status.is_terminal():
                return facts
            self._pause()

    def _follow(self, job: str) -> None:
        """Writes what of the log was not written yet, until it ends or breaks off; or is silent, and the job at its
        end or the cluster away meanwhile: a connection to a head that is gone may stay silent for ever.
        """
        client, position = self._client, 0
        coming = _tail(client, job)
        while True:
            try:
                text = coming.get(timeout=self._left(_QUIET))
            except queue.Empty:
                facts = self._jobs().get(job)
                if facts is None or facts.status.is_terminal() or self._client is not client:
                    return
                continue
            if text is None:
                return
            written = self._written.get(job, 0)
            self.write(text[max(0, written - position) :])
            position += len(text)
            self._written[job] = max(written, position)

    def _left(self, most: float) -> float:
        """Seconds to go on, at most so many. Raises TimeOver."""
        left = most if self._until is None else min(most, self._until - self.clock())
        if left <= 0:
            raise TimeOver
        return left

    def _pause(self, seconds: float = _PAUSE) -> None:
        self.sleep(self._left(seconds))

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        """The cluster's answer, as soon as there is one.

        Raises Unreachable, InputError when the token or what is asked is refused, RuntimeError for a submission id
        that is there already.
        """
        from ray.exceptions import AuthenticationError, RpcError

        since: float | None = None
        while True:
            try:
                self._client = self._client or self.connect()
                return question(self._client)
            except AuthenticationError as error:
                wanted = "the cluster's token: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token"
                raise InputError("submit", [Problem("token", _line(error), wanted)]) from error
            except (OSError, RuntimeError, ValueError, AssertionError, RpcError) as error:
                if _EXISTS in str(error):
                    raise
                if not _is_silence(error):
                    raise InputError("submit", [_refused(error)]) from error
                why = error
            since = self._silent(why, since)

    def _silent(self, error: Exception, since: float | None) -> float:
        """Pauses, within the patience that is left; since when there was no answer. Raises Unreachable."""
        self._client = None
        if since is None:
            since = self.clock()
            self.say(f"the cluster does not answer, trying again for {self.patience:.0f} s: {_line(error)}")
        if self.clock() - since >= self.patience:
            raise Unreachable(_line(error)) from error
        self._pause()
        return since


def _tail(client: Any, job: str) -> queue.SimpleQueue[str | None]:
    """A job's log as it comes, None at its end or where it breaks off. Its thread leaves Ctrl-C to the others."""
    found: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    async def pump() -> None:
        async for text in client.tail_job_logs(job):
            found.put(text)

    def work() -> None:
        with suppress(Exception):  # of aiohttp, of Ray: whatever it is, the job's state tells more
            asyncio.run(pump())
        found.put(None)

    threading.Thread(target=work, name=f"log of {job}", daemon=True).start()
    return found


def _is_silence(error: Exception) -> bool:
    """Whether the cluster, or what stands before it, may answer another time."""
    import requests
    from ray.exceptions import RpcError

    if isinstance(error, (RuntimeError, requests.HTTPError)):  # of an answer that is no good one
        return bool(_PASSING.search(str(error)))
    silence = (ConnectionError, TimeoutError, requests.RequestException, RpcError)
    return isinstance(error, silence) and not isinstance(error, ValueError)  # as requests says of a wrong URL


def _refused(error: Exception) -> Problem:
    """What is wrong with the request: its folder, which Ray's client reads before it is sent, or its address."""
    import requests

    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return Problem("--working-dir", _line(error), "files that can be read, and room for their archive")
    wanted = "the address of a Ray cluster's dashboard (--address), which takes the job"
    return Problem("the cluster", _line(error), wanted)


def _line(error: Exception) -> str:
    """What an exception says, in one line."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _started(facts: Any) -> bool:
    """Whether a job's driver ever ran; Ray gives up one that found no place for 15 minutes."""
    return facts is None or bool(facts.driver_node_id)


def verdict(facts: Any) -> tuple[int | None, str]:
    """The exit code of a job that has ended, None of one whose driver was lost; and why, in words.

    facts: Ray's JobDetails, None if the cluster has none.
    """
    if facts is None:
        return None, "the cluster does not know it any more"
    status, code = str(facts.status), facts.driver_exit_code
    if status == "SUCCEEDED":
        return 0, "all runs are finished"
    if status == "STOPPED":
        return 130, "stopped; what is finished is kept"
    if facts.error_type == _SETUP:
        return 2, f"its environment could not be set up: {facts.message}"
    if code in ENDED:
        return code, f"ended with exit code {code}"
    if code in _CANNOT_START:
        why = f"its command cannot be started on the cluster (exit code {code})"
        return 2, f"{why}: is flare_ray installed there?"
    if code == SERVICE_AWAY:
        return None, "it could not reach a service that it needs; its log says which"
    return None, f"its driver was lost ({facts.error_type or 'no word'}, exit code {code})"
