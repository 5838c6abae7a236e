"""What comes from the hub is fetched once, into the store: the real client against a hub of this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flare_ray.execution.prefetch import wanted
from flare_ray.study import Study
from tests.hub_server import COMMIT, HubServer

MODEL, GATED, DATA = "org/tiny", "org/gated", "indonlp/NusaX-senti"
SPLITS = ("train", "validation", "test")
Fields = Callable[..., dict[str, Any]]
Write = Callable[[dict[str, Any]], Path]


def data_repository(folder: Path, sandbox: Path) -> Path:
    """A data set repository as the hub has it: English with all splits, Acehnese as well, Javanese without a test."""
    lines = ["---", "configs:"]
    names = {"valid": "validation"}
    for config, language in (("eng", "english"), ("ace", "qal"), ("jav", "qal")):
        shutil.copytree(sandbox / "data" / "nusax" / language, folder / "data" / config)
        lines += [f"- config_name: {config}", "  data_files:"]
        for file in sorted((folder / "data" / config).glob("*.csv")):
            split = names.get(file.stem, file.stem)
            if (config, split) != ("jav", "test"):
                lines += [f"  - split: {split}", f"    path: data/{config}/{file.name}"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))
    return folder


@pytest.fixture(scope="module")
def hub(small_sandbox: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    model = tmp_path_factory.mktemp("model")
    shutil.copytree(small_sandbox / "models" / "sandbox-xlm-r", model, dirs_exist_ok=True)
    (model / "pytorch_model.bin").write_bytes(b"the same weights once more")
    (model / "onnx").mkdir()
    (model / "onnx" / "config.json").write_text("{}")
    data = data_repository(tmp_path_factory.mktemp("data"), small_sandbox)
    server = HubServer(
        {f"models/{MODEL}": model, f"models/{GATED}": model, f"datasets/{DATA}": data},
        gated=(f"models/{GATED}",),
    )
    yield server
    server.close()


def environment(hub: HubServer, place: Path, **more: str) -> dict[str, str]:
    left_out = ("HF_TOKEN", "HF_HUB_OFFLINE")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(place / "hf"), "FLARE_RAY_CACHE": str(place / "cache")}
    return kept | own | more


def python(code: str, *words: str, env: dict[str, str]) -> Any:
    """What a script prints as JSON last."""
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


FETCH = """
import json, sys
from flare_ray.errors import InputError
from flare_ray.execution.prefetch import Split, Wanted, fetch
from flare_ray.store import Store
models, splits = json.loads(sys.argv[2])
lines = []
try:
    fetch(Store(sys.argv[1]), Wanted(tuple(models), tuple(Split(*one) for one in splits)), lines.append)
    print(json.dumps([lines, []]))
except InputError as error:
    print(json.dumps([lines, [[one.where, one.found] for one in error.problems]]))
"""
END = """
import json, sys
from flare_ray.execution.prefetch import Split, Wanted, fetch
from flare_ray.store import Store, patience
patience.FIRST_WAIT, patience.ATTEMPTS = 0.01, 2
models, splits = json.loads(sys.argv[2])
lines = []
try:
    fetch(Store(sys.argv[1]), Wanted(tuple(models), tuple(Split(*one) for one in splits)), lines.append)
except Exception as error:
    print(json.dumps([type(error).__name__, getattr(error, "exit_code", None), lines, str(error)]))
"""
READ = """
import json, sys
from flare_ray.execution.prefetch import read_from
read_from(sys.argv[1], offline=True)
from transformers import AutoModel, AutoTokenizer
from flare_ray import registry
from flare_ray.errors import InputError
from flare_ray.models.base import origin
task, found = registry.load("tasks", "nusax"), {}
model = AutoModel.from_pretrained(**origin("org/tiny"))
found["parameters"] = model.num_parameters()
found["words"] = len(AutoTokenizer.from_pretrained(**origin("org/tiny")))
found["rows"] = task.read("indonlp/NusaX-senti", "ace", "train").table.to_pylist()
try:
    task.read("indonlp/NusaX-senti", "jav", "test")
except InputError as error:
    found["absent"] = str(error)
print(json.dumps(found))
"""


def end_of(wanted: str, store: Path, env: dict[str, str]) -> list[Any]:
    """The error that fetching ends with: its name, exit code, what was said before, its text."""
    found: list[Any] = python(END, str(store), wanted, env=env)
    return found


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 64 KiB; skips where none can be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_another_machine_reads_from_the_store_what_was_fetched_once(
    hub: HubServer, small_sandbox: Path, tmp_path: Path
) -> None:
    hub.asked.clear()
    store, first, other = str(tmp_path / "store"), tmp_path / "first", tmp_path / "other"
    splits = [("nusax", DATA, "ace", "train"), ("nusax", DATA, "jav", "test", True)]
    env = environment(hub, first)
    lines, problems = python(FETCH, store, json.dumps([[MODEL], splits]), env=env)
    assert not problems
    assert any(MODEL in line for line in lines)
    downloads = [path for path in hub.asked if "/resolve/" in path and MODEL in path]
    assert not [path for path in downloads if "pytorch_model.bin" in path or "onnx" in path]
    assert all(COMMIT in path for path in downloads), "one commit, whatever becomes of the branch"

    hub.asked.clear()
    lines, problems = python(
        FETCH, store, json.dumps([[MODEL], splits]), env=environment(hub, tmp_path / "third")
    )
    assert not lines, "it is there"
    read = python(READ, store, env=environment(hub, other))
    assert not hub.asked, "nobody asks the hub again"
    files = list(csv_rows(small_sandbox / "data" / "nusax" / "qal" / "train.csv"))
    assert [(row["id"], row["text"], row["label"]) for row in read["rows"]] == files
    assert read["parameters"] > 1000
    assert read["words"] > 100
    assert "jav test" in read["absent"]


def csv_rows(file: Path) -> Iterator[tuple[str, str, str]]:
    import csv

    with file.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            yield row["id"], row["text"], row["label"]


def test_all_that_the_hub_does_not_give_is_told_at_once(hub: HubServer, tmp_path: Path) -> None:
    splits = [("nusax", DATA, "bug", "train"), ("nusax", "org/nothing", "eng", "train")]
    wanted = json.dumps([["org/nothing", GATED, MODEL], splits])
    _, problems = python(FETCH, str(tmp_path / "store"), wanted, env=environment(hub, tmp_path))
    where = [place for place, _ in problems]
    assert where == ["models", "models", "data.nusax", "data.nusax"]
    found = " ".join(text for _, text in problems)
    assert "RepositoryNotFound" in found
    assert "GatedRepo" in found
    assert "'bug' not found" in found
    _, problems = python(
        FETCH,
        str(tmp_path / "store"),
        json.dumps([[GATED], []]),
        env=environment(hub, tmp_path, HF_TOKEN=hub.TOKEN),
    )
    assert not problems, "a token opens it"
    hf_secret = [
        path for path in (tmp_path / "store").rglob("*") if path.is_file() and hub.TOKEN in _text(path)
    ]
    assert not hf_secret


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="ignore")


def test_a_hub_that_stumbles_is_asked_again(hub: HubServer, tmp_path: Path) -> None:
    hub.broken = 2
    _, problems = python(
        FETCH, str(tmp_path / "s"), json.dumps([[MODEL], []]), env=environment(hub, tmp_path)
    )
    assert not problems
    assert not hub.broken


def test_a_hub_that_stays_away_may_be_back_later(small_sandbox: Path, tmp_path: Path) -> None:
    server = HubServer({f"models/{MODEL}": small_sandbox / "models" / "sandbox-xlm-r"})
    env = environment(server, tmp_path)
    server.broken = 1000
    busy = end_of(json.dumps([[MODEL, "org/other"], []]), tmp_path / "store", env)
    server.close()
    gone = end_of(json.dumps([[MODEL, "org/other"], []]), tmp_path / "store", env)
    for kind, code, lines, text in (busy, gone):
        assert (kind, code) == ("Unreachable", 75)
        assert len(lines) == 1, "one was waited for, nobody waits for the others"
        assert "wanted a hub that answers" in text
    assert "503" in busy[3]
    assert "ConnectError" in gone[3]
    asked_for_it = end_of(json.dumps([[MODEL], []]), tmp_path / "store", env | {"HF_HUB_OFFLINE": "1"})
    assert asked_for_it[:2] == ["InputError", 2]


def test_a_hub_that_refused_something_and_went_away_is_wrong_input(hub: HubServer, tmp_path: Path) -> None:
    server = HubServer(hub.repositories, hub.gated)
    server.left = [f"/api/models/{GATED}"]
    kind, code, _, text = end_of(
        json.dumps([[GATED, MODEL], []]), tmp_path / "store", environment(server, tmp_path)
    )
    server.close()
    assert (kind, code) == ("InputError", 2)
    assert "GatedRepo" in text
    assert "503" in text


def test_a_store_that_cannot_be_written_is_told_as_what_it_is(hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "hub").write_text("a file in the folder's place")
    kind, _, lines, text = end_of(json.dumps([[MODEL], []]), tmp_path / "store", environment(hub, tmp_path))
    assert kind in ("FileExistsError", "NotADirectoryError")
    assert "hub id" not in text
    assert len(lines) == 1


def test_a_full_store_is_told_as_full(hub: HubServer, tmp_path: Path, small_disk: Path) -> None:
    kind, _, _, text = end_of(json.dumps([[MODEL], []]), small_disk / "store", environment(hub, tmp_path))
    assert kind == "StoreFull"
    assert "could not write hub/" in text.replace(str(small_disk / "store") + "/", "")
    assert "hub id" not in text


def test_what_a_search_will_read_is_wanted_before_it_starts(sweep_of: Fields, write_sweep: Write) -> None:
    translators = {"mt_model": ["org/one", "org/other"], "rank": [4, 8]}
    fields = sweep_of(
        models=[{"name": "tiny", "family": "xlm_roberta", "checkpoint": MODEL}],
        data={"nusax": DATA},
        languages=["ace", "jav"],
        methods=["zero_shot"],
        seeds=[1, 2],
        searches=[{"method": "flare_mt", "space": translators, "configurations": 2}],
    )
    study = Study.open(write_sweep(fields), to_execute=False)
    todo = study.stages()
    assert "org/one" not in wanted(todo).models
    reads = wanted(study.ahead(todo))
    assert set(reads.models) == {MODEL, "org/one", "org/other"}
    both = {(one.language, one.split) for one in reads.splits}
    assert both == {(language, split) for language in ("eng", "ace", "jav") for split in SPLITS}
    alone = Study.open(write_sweep(fields | {"methods": []}), to_execute=False)
    ahead = alone.ahead(alone.stages())
    assert set(wanted(ahead).splits) == set(reads.splits)
    assert set(wanted(ahead).models) == set(reads.models)
    assert len(ahead.bases) == 2, "one for each seed: their room on the disk is asked for"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_of_hub_ids_downloads_each_file_once(
    hub: HubServer, small_sandbox: Path, sweep_of: Fields, write_sweep: Write, tmp_path: Path
) -> None:
    hub.asked.clear()
    fields = sweep_of(
        models=[{"name": "tiny", "family": "xlm_roberta", "checkpoint": MODEL}],
        data={"nusax": DATA},
        languages=["ace"],
        seeds=[1, 2],
        resources={"prefetch": True},
    )
    file = write_sweep(fields)
    command = [sys.executable, "-m", "flare_ray.sweep", str(file)]
    env = environment(hub, tmp_path)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    weights = [path for path in hub.asked if path.endswith("model.safetensors")]
    assert len(weights) == 1
    assert hub.asked[weights[0]] <= 2, "its head and its content, for two base models"
    hub.asked.clear()
    again = subprocess.run(command, env=env, capture_output=True, text=True, timeout=800, check=False)
    assert again.returncode == 0
    assert not hub.asked
