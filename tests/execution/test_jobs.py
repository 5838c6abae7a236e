"""A job seen to its end: exit codes, lost drivers, a log that breaks off, a time that is over."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from flare_ray.errors import InputError
from flare_ray.execution.jobs import UNREACHABLE, Job, verdict
from tests.job_server import DONE, LOST, Cluster, Ending, details, job_on


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


@pytest.mark.parametrize("code", [126, 127])
def test_a_command_that_cannot_start_is_not_tried_again(code: int) -> None:
    cluster = Cluster([("FAILED", code)])
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


def test_a_service_that_stays_away_ends_it_as_a_cluster_that_does() -> None:
    cluster = Cluster([("FAILED", 75)] * 9)
    job, _, said = job_on(cluster, most=2)
    assert job.run() == UNREACHABLE
    assert len(cluster.submitted) == 3
    assert "could not reach a service" in said[-1]


def test_drivers_that_got_on_are_lost_as_often_as_it_takes() -> None:
    """Ten losses in a week are not ten in a row."""
    cluster = Cluster([LOST] * 30 + [DONE])
    assert lives(cluster, 700).run() == 0
    assert len(cluster.submitted) == 31


def test_drivers_that_were_never_started_got_nowhere_however_long_it_took() -> None:
    cluster = Cluster([LOST] * 30, node=None)
    assert lives(cluster, 900).run() == UNREACHABLE
    assert len(cluster.submitted) == 3


def lives(cluster: Cluster, seconds: float) -> Job:
    """Submitted again twice; each of its jobs takes so long."""
    job, _, _ = job_on(cluster, most=2)
    job.write = lambda text: job.sleep(seconds / 2)
    return job


def test_an_interrupt_between_two_jobs_does_not_say_that_one_goes_on() -> None:
    job, _, _ = job_on(Cluster([LOST]))

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    job.sleep = interrupted
    with pytest.raises(KeyboardInterrupt):
        job.run()
    assert "no job is known to run" in job.left_alone()


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
