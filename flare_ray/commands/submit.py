"""`flare-ray submit FILE --address …`: a sweep as a job of a Ray cluster, seen to its end.

    flare-ray submit sweeps/full.yaml --address http://HEAD:8265 --set storage=s3://bucket/full

Exit codes: those of the sweep (0 all runs finished, 1 some failed, 2 wrong input, 130 stopped), and 3 when the
cluster does not answer, --wait-for is over, or drivers were lost, or could not reach a service, again and again.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from flare_ray.commands.limited import Limit, Smoke
from flare_ray.errors import InputError, Problem
from flare_ray.execution.jobs import Job
from flare_ray.execution.provenance import CHECKOUT, checkout
from flare_ray.execution.working_dir import select, staged
from flare_ray.plan.extends import extended, extended_files
from flare_ray.plan.limits import limit_options, with_limits
from flare_ray.plan.load import apply_overrides
from flare_ray.plan.schema import Sweep
from flare_ray.proxy import bypass_proxy_for_loopback
from flare_ray.redaction import redacted

_STOP_SECONDS = 600
"""What a stopped sweep has to come to its next checkpoint before Ray kills it; Ray's own 3 s are too few."""
_ANSWER_SECONDS = 60


def submit(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The sweep's YAML file.")],
    address: Annotated[
        str, typer.Option(help="Of the dashboard; RAY_API_SERVER_ADDRESS or RAY_ADDRESS overrule it.")
    ] = "http://127.0.0.1:8265",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a field. Repeatable.")
    ] = None,
    limit: Limit = None,
    smoke: Smoke = False,
    working_dir: Annotated[
        Path,
        typer.Option(help="The job's folder: its flare_ray/, the sweep's files and what they name go along."),
    ] = Path("."),
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Something else of the folder that goes along. Repeatable."),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="For the job; the dashboard shows it: no secrets. Repeatable."
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed in the code or diverged.")
    ] = False,
    wait_for: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds to follow it at most; 0 only submits. To its end if left out."),
    ] = None,
    patience: Annotated[float, typer.Option(min=0, help="Seconds that the cluster may not answer.")] = 600,
    resubmit: Annotated[int, typer.Option(min=0, help="How often a lost driver is submitted again.")] = 10,
) -> None:
    """Submits a sweep to a Ray cluster and follows it; a lost driver is submitted again."""
    overrides = limit_options(overrides, limit, smoke)
    words = ["--wait"]  # a lost driver on a machine that is gone holds its lease for some more seconds
    words += [word for one in overrides for word in ("--set", one)]
    words += ["--retry-failed"] if retry_failed else []
    job: Job | None = None
    try:
        fields = with_limits(apply_overrides(extended(file), overrides, str(file)))
        name, sweep, variables = (
            checked_name(file, fields),
            _inside(file, working_dir),
            job_variables(env or []),
        )
        selection = select(working_dir, sweep, extended_files(file), fields, include or [])
        for line in selection.lines():
            _say(line)
        with staged(selection) as folder:
            job = Job(
                name,
                shlex.join(["python", "-m", "flare_ray.sweep", sweep, *words]),
                {"working_dir": str(folder), "env_vars": variables},
                lambda: client(address),
                lambda text: print(text, end="", flush=True),
                _say,
                wait_for,
                patience,
                resubmit,
            )
            code = job.run()
    except InputError as error:
        print(error, file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        left = job.left_alone() if job else "nothing was submitted"
        print(f"\nflare-ray: not followed any more; {left}", flush=True)
        code = 130
    raise typer.Exit(code)


def _say(line: str) -> None:
    print(redacted(f"flare-ray: {line}"), flush=True)


def checked_name(file: Path, raw: dict[str, Any]) -> str:
    """Return the sweep's name. Raises InputError also for a storage that the cluster's nodes would not share.

    Only what can be seen from here is looked at: absolute paths of data and checkpoints are the cluster's.
    """
    name, problems = raw.get("name"), []
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        problems.append(Problem("name", repr(name), "the sweep's name: letters, digits, - _ ."))
    storage = str(raw.get("storage", Sweep.model_fields["storage"].default))
    if "://" not in storage and not Path(storage).expanduser().is_absolute():
        found = f"{storage}, which on a cluster is a folder of the job's own that goes with it"
        problems.append(Problem("storage", found, "a URL, or an absolute path that all nodes share"))
    if problems:
        raise InputError(str(file), problems)
    return str(name)


def job_variables(env: list[str]) -> dict[str, str]:
    """Return the job's environment variables. Raises InputError for what is not NAME=VALUE."""
    wrong = [one for one in env if not one.partition("=")[0] or "=" not in one]
    if wrong:
        raise InputError("submit", [Problem("--env", repr(one), "NAME=VALUE") for one in wrong])
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_SECONDS), CHECKOUT: checkout()}
    return variables | dict(one.split("=", 1) for one in env)


def client(address: str) -> Any:
    """Ray's client, with the token, and a limit to each answer. Raises ConnectionError, AuthenticationError."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    bypass_proxy_for_loopback(os.environ.get("RAY_API_SERVER_ADDRESS") or address)
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):
        def _do_request(self, *words: Any, **options: Any) -> Any:
            return super()._do_request(*words, **{"timeout": _ANSWER_SECONDS, **options})

    return Client(address)


def _inside(file: Path, folder: Path) -> str:
    """The file's path in the folder."""
    try:
        return file.absolute().relative_to(folder.absolute()).as_posix()
    except ValueError as error:
        found = f"{file}, outside of {folder.absolute()}"
        raise InputError(
            "submit", [Problem("FILE", found, "a file in --working-dir, which goes along")]
        ) from error
