"""Where a Ray of this machine puts its files, who may read them, and what keeps it from starting."""

import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from flare_ray.errors import InputError, Unreachable
from flare_ray.execution import local_ray
from flare_ray.execution.cluster import cluster_problems, parse_address, protect_token

NO_ADDRESSES = [
    *("::1", "[::1]", "[::1", "fe80::1%eth0"),
    *("head", "head:", "head:port", "head:0", "head:99999", "head:-1", "head:6379/x", "user@head:6379"),
    *("ray://", "http://x:1", "a:1,b:2"),
]
DRIVER = """
import sys, time
import psutil, ray
from flare_ray.execution import local_ray
from flare_ray.execution.cluster import connect

connect()

@ray.remote
def work():
    time.sleep(600)

@ray.remote
def look():
    import os, tempfile
    return tempfile.gettempdir(), os.umask(0o077)

print(*ray.get(look.remote()), local_ray._folder, flush=True)
waiting = work.remote()
time.sleep(1)
print(*[child.pid for child in psutil.Process().children(recursive=True)], flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("head:6379", ("head", 6379)),
        ("[::1]:6379", ("::1", 6379)),
        ("ray://[fe80::1]:10001", ("fe80::1", 10001)),
        ("ray://10.0.0.1:10001", ("10.0.0.1", 10001)),
    ],
)
def test_addresses(address: str, parts: tuple[str, int]) -> None:
    assert parse_address(address) == parts


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_what_is_no_address_is_one_problem(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    (problem,) = cluster_problems()
    assert problem.where == "RAY_ADDRESS"
    assert repr(address) in problem.found
    assert not problem.passes


def test_an_address_without_its_port_is_shown_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "::1")
    assert "[::1]:6379" in cluster_problems()[0].found


@pytest.mark.parametrize("address", ["", " ", "local"])
def test_no_address_is_a_local_ray(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert cluster_problems() == []


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_a_long_folder_is_refused_with_the_remedy(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("scratch-of-job-" * 8)
    long.mkdir()
    monkeypatch.setenv(variable, str(long))
    (problem,) = cluster_problems()
    assert problem.where == variable
    assert "RAY_TMPDIR: a short folder" in problem.wanted


def test_a_tmpdir_that_ray_itself_would_take_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    longest = local_ray.SOCKET_BYTES - len("/ray/" + local_ray._SOCKET.split("/r/")[1])
    with tempfile.TemporaryDirectory(prefix="f", dir="/tmp") as folder:
        root = Path(folder) / ("x" * (longest - len(folder) - 1))
        root.mkdir()
        monkeypatch.setenv("TMPDIR", str(root))
        assert local_ray._root() == Path("/tmp")
        monkeypatch.setenv("TMPDIR", f"{root}x")
        with pytest.raises(InputError, match="TMPDIR"):
            local_ray._root()


def test_a_short_ray_tmpdir_is_the_remedy_for_a_long_tmpdir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("scratch-of-job-" * 8)))
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert cluster_problems() == []


def test_the_longest_ray_tmpdir_that_is_taken_has_room_for_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    longest = local_ray.SOCKET_BYTES - len(local_ray._SOCKET)
    with tempfile.TemporaryDirectory(prefix="f", dir="/tmp") as folder:
        root = Path(folder) / ("x" * (longest - len(folder) - 1))
        monkeypatch.setenv("RAY_TMPDIR", str(root))
        assert local_ray._root() == root
        monkeypatch.setenv("RAY_TMPDIR", f"{root}x")
        with pytest.raises(InputError, match="too long by 1 bytes"):
            local_ray._root()


def test_a_ray_tmpdir_that_is_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.NamedTemporaryFile(dir="/tmp") as file:
        monkeypatch.setenv("RAY_TMPDIR", file.name)
        (problem,) = cluster_problems()
    assert "cannot be written" in problem.found


def test_a_limit_of_addresses_is_found_before_ray_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (2_000_000 * 1024, resource.RLIM_INFINITY))
    (problem,) = cluster_problems()
    assert problem.where == "ulimit -v"
    assert "unlimited" in problem.wanted


def test_a_token_that_others_read_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "auth_token"
    token.write_text("t0ken")
    token.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    protect_token()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert token.read_text() == "t0ken"


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_ray_ends_with_its_driver_and_only_its_user_reads_its_files(
    number: signal.Signals, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = os.environ | {"HOME": str(home)}
    command = [sys.executable, "-c", DRIVER]
    driver = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, umask=0o022, start_new_session=True
    )
    assert driver.stdout is not None
    temporary, umask, folder = driver.stdout.readline().split()
    assert umask == str(0o077)
    assert stat.S_IMODE(Path(folder).parent.stat().st_mode) == 0o700
    assert Path(temporary).is_relative_to(Path(folder).parent)
    for file in home.rglob("*"):
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file
    assert (home / ".ray" / "auth_token").exists()
    family = [int(word) for word in driver.stdout.readline().split()]
    assert len(family) > 5
    driver.send_signal(number)
    driver.wait()
    deadline = time.monotonic() + 30
    while (any(map(alive, family)) or Path(folder).parent.exists()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not [pid for pid in family if alive(pid)]
    assert not Path(folder).parent.exists()


def test_a_ray_that_fails_to_start_may_start_later(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def timed_out(**options: object) -> None:
        raise Exception("The current node timed out during startup.\nMore lines")  # as Ray does

    monkeypatch.setattr(ray, "init", timed_out)
    for name in ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.setenv(name, os.environ.get(name, "lo" if name.endswith("IFNAME") else "0"))
    before = os.umask(0o022)
    try:
        with pytest.raises(Unreachable) as raised:
            local_ray.start_ray()
    finally:
        os.umask(before)
        assert local_ray._current is not None
        local_ray._current.close()
    assert raised.value.exit_code == 75
    assert "timed out during startup. More lines" in str(raised.value)
    assert local_ray._folder is not None
    assert not local_ray._folder.parent.exists()


STARTING = """
import os, signal, sys
import ray
from flare_ray.execution import local_ray
from flare_ray.execution.stopping import interruptible

number = int(sys.argv[1])

def init(**options):
    if sys.argv[2] == "own":  # Ray's own handler, as ray.init installs it
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
    os.kill(os.getpid(), number)
    print("not stopped", flush=True)

ray.init = init
try:
    with interruptible():
        local_ray.start_ray()
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("handler", ["ours", "own"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_signal_stops_a_ray_that_starts(number: signal.Signals, handler: str) -> None:
    command = [sys.executable, "-c", STARTING, str(int(number)), handler]
    found = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert (found.returncode, found.stdout) == (130, ""), found.stderr


def test_rays_processes_take_no_part_in_the_signals_of_a_terminal() -> None:
    from ray._private import services

    look = "import os, signal; print(os.getpgid(0) == os.getpid(), signal.getsignal(signal.SIGHUP).name)"
    with local_ray._groups_of_their_own():
        process = services.ConsolePopen([sys.executable, "-c", look], stdout=subprocess.PIPE, text=True)
        assert signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    assert process.communicate(timeout=60)[0].split() == ["True", "SIG_IGN"]


def test_a_ray_that_neither_starts_nor_fails_is_not_waited_for() -> None:
    code = """
import time, ray
from flare_ray.execution import local_ray
local_ray.START_SECONDS = 0.5
ray.init = lambda **options: time.sleep(600)
local_ray.start_ray()
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=90)
    assert found.returncode == 75, found.stderr
    assert "no Ray within" in found.stderr
    assert "Traceback" not in found.stderr
    assert len(found.stderr.splitlines()) == 1
