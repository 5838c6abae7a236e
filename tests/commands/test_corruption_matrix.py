"""Every kind of file of a store × every kind of damage → plan, report, ls, verify, gc, run: the laws of a store.

No command ends in a traceback. No score is shown that is not the one that was recorded. What is damaged is named by
`plan` and `report` (exit code 1) where it is the study's work, and by `verify`. `gc` removes no sound work. `run`
makes again what is damaged, and then everything is as it was.
"""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file
from small_study import write_study, write_sweep
from typer.testing import CliRunner

from flare_ray import running
from flare_ray.cli import app
from flare_ray.plan.grid import Run
from flare_ray.plan.stages import Stages
from flare_ray.plan.wire import run_facts
from flare_ray.store import RECORD, Store, StoreAway
from flare_ray.store.files import Files
from flare_ray.study import Study
from flare_ray.tasks.nusax import TASK
from flare_ray.translation.memory import Entry, Pair, write_shard

INSTANCES = 12
OTHER = "f" * 20


def call(*words: object) -> tuple[int, str]:
    """A command's exit code and output; whatever is no exit is a traceback."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def keep_base(store: Store, base: Any, place: Path) -> None:
    files = place / f"base-{base.fingerprint}"
    files.mkdir(exist_ok=True)
    save_file({"weight": np.arange(1000, dtype=np.float32)}, files / "model.safetensors")
    record = {"fingerprint": base.fingerprint, "label": base.label, "metrics": {"macro_f1": 70.0}}
    store.write("bases", base.fingerprint, record | {"cost": {"wall_seconds": 3.0}, "provenance": {}}, files)


def keep_run(store: Store, run: Run, place: Path) -> None:
    """A finished run with predictions that its fingerprint determines, and the score that they have."""
    chance = np.random.default_rng(int(run.fingerprint[:8], 16))
    gold = [[TASK.labels[number % 3]] for number in range(INSTANCES)]
    said = [str(chance.choice(TASK.labels)) for _ in gold]
    files = place / run.fingerprint
    (files / "adapter").mkdir(parents=True, exist_ok=True)
    ids = [str(number) for number in range(INSTANCES)]
    pq.write_table(pa.table({"id": ids, "gold": gold, "prediction": said}), files / "predictions.parquet")
    save_file({"a": np.arange(500, dtype=np.float32)}, files / "adapter" / "adapter_model.safetensors")
    cost = {"wall_seconds": 9.0, "train_seconds": 8.0, "trainable_parameters": 12, "peak_process_mib": 90.0}
    facts = {"metrics": TASK.score(gold, said), "cost": cost, "provenance": {"versions": {}, "device": "cpu"}}
    facts |= {"validation": {"validation_macro_f1": 50.0}, "history": [], "execution": {}, "chosen_step": 1}
    facts |= {"started": 1.7e9, "ended": 1.7e9 + 9, "rows": {}, "data": {}, "chosen_epoch": 1}
    store.write("runs", run.fingerprint, run_facts(run) | facts, files)


def fill(study: Study, place: Path) -> None:
    """All work of a study, and one of everything else that a store keeps."""
    store = study.store
    for base in study.grid.bases:
        keep_base(store, base, place)
    for run in study.grid.runs:
        keep_run(store, run, place)
    store.write_failure(OTHER, {"label": "another run", "error": "ValueError: x", "kind": "bug", "at": 1.0})
    write_shard(store, Pair("0" * 20, "eng", "ace"), "w", [Entry("one", "saboh"), Entry("two", "dua")])
    store.write_json(f"searches/{OTHER}/tpe.selected.json", {"selected": None, "terms": {}})
    store.write_json(
        f"checkpoints/{OTHER}/20/manifest.json", {"step": 20, "made": {}, "files": {}, "facts": {}}
    )
    store.write_text("reports/small/report.md", "# tables: 61.2\n")
    with store.lease("small"):
        pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep file and its finished store; never changed."""
    place = tmp_path_factory.mktemp("whole")
    fields = write_study(place) | {"rank": [4], "fusion": ["add_relu"], "languages": ["ace"]}
    fields["storage"] = "results"
    write_sweep(place / "sweep.yaml", fields)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("FLARE_RAY_CACHE", str(place / "cache"))
        fill(Study.open(place / "sweep.yaml"), tmp_path_factory.mktemp("made"))
    return place


@pytest.fixture
def study(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A copy of it, in which a damaged store is used as if a cluster did what is left."""
    shutil.copytree(whole / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "cache"))
    shutil.copy(whole / "sweep.yaml", tmp_path / "sweep.yaml")

    def train(study: Study, retry_failed: bool, todo: Stages, *_: Any) -> None:
        for base in todo.bases:
            keep_base(study.store, base, tmp_path)
        for run in todo.todo:
            keep_run(study.store, run, tmp_path)

    monkeypatch.setattr(running, "_train", train)
    monkeypatch.setattr("flare_ray.study.cluster_problems", list)
    return Study.open(tmp_path / "sweep.yaml")


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: max(1, file.stat().st_size // 2)])


def flip(file: Path) -> None:
    """One character of the content: a digit in JSON, a bit elsewhere."""
    content = bytearray(file.read_bytes())
    digits = [at for at, letter in enumerate(content) if chr(letter) in "12345678"]
    at = digits[len(digits) // 2] if file.suffix in (".json", ".md") else len(content) // 2
    content[at] = content[at] + 1 if file.suffix in (".json", ".md") else content[at] ^ 0xFF
    file.write_bytes(bytes(content))


def zeros(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def empty(file: Path) -> None:
    file.write_bytes(b"")


def delete(file: Path) -> None:
    file.unlink()


def link(file: Path) -> None:
    moved = file.with_name(f"{file.name}.moved")
    file.rename(moved)
    file.symlink_to(moved)


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()
    (file / "note.txt").write_text("mine")


def foreign(file: Path) -> None:
    file.write_text('{"another": "program\'s", "metrics": {"macro_f1": 99.9}, "step": 1}')


FAULTS = [truncate, flip, zeros, empty, delete, link, pipe, folder, foreign]
PLACES = {
    "run's record": "runs/{run}/record.json",
    "predictions": "runs/{run}/predictions.parquet",
    "adapter": "runs/{run}/adapter/adapter_model.safetensors",
    "base's record": "bases/{base}/record.json",
    "base's weights": "bases/{base}/model.safetensors",
    "failure": f"failures/{OTHER}.json",
    "translations": "translations/{shard}",
    "search": f"searches/{OTHER}/tpe.selected.json",
    "checkpoint": f"checkpoints/{OTHER}/20/manifest.json",
    "report": "reports/small/report.md",
    "lease": "leases/small/1.json",
}
OF_RECORDS = {"run's record", "predictions", "adapter", "base's record", "base's weights"}
WITH_CHECKSUM = {"failure", "translations", "search", "checkpoint"}
SHOWN = {"run's record", "predictions"}
"""What a score in a table is read from."""


def report(study: Study, out: Path) -> tuple[int, str, dict[str, str]]:
    """A report's exit code, its output, and each run's score in it, "" where it has none."""
    code, text = call("report", study.file, "--format", "csv", "--resamples", 0, "--out", out)
    with (out / "runs.csv").open(encoding="utf-8") as stream:
        return code, text, {line["fingerprint"]: line["score"] for line in csv.DictReader(stream)}


def is_seen_by_verify(kind: str, fault: Callable[[Path], None], missing: bool) -> bool:
    """What goes without a record to miss it cannot be seen; a link is read through, a pipe is not the store's."""
    if kind in OF_RECORDS:
        return not missing
    if kind == "failure" and fault in (link, pipe):
        return True
    if kind not in WITH_CHECKSUM or fault in (delete, link, pipe):
        return False
    if fault is foreign:
        return kind == "translations"  # a JSON file without a checksum is an earlier version's
    return fault is not folder or kind == "failure"


def sound_work(store: Store) -> dict[str, bytes]:
    """Files of sound records, whose content is what was written."""
    found: dict[str, bytes] = {}
    for kind in ("runs", "bases"):
        for name in store.finished(kind):
            top = Path(store.root, kind, name)
            found |= {str(file): file.read_bytes() for file in top.rglob("*") if file.is_file()}
    return found


def pairs() -> list[Any]:
    """All pairs of kind and fault; a third of them, with each kind and each fault, in the fast tests."""
    every = [(kind, fault) for kind in PLACES for fault in FAULTS]
    fast = [(number // len(FAULTS) + number) % 3 == 0 for number in range(len(every))]
    return [
        pytest.param(*pair, id=f"{pair[0]}-{pair[1].__name__}", marks=[] if quick else [pytest.mark.slow])
        for pair, quick in zip(every, fast, strict=True)
    ]


@pytest.mark.parametrize(("kind", "fault"), pairs())
def test_the_laws_hold(study: Study, tmp_path: Path, kind: str, fault: Callable[[Path], None]) -> None:
    run, base = study.grid.runs[0], study.grid.bases[0]
    root = Path(study.store.root)
    (shard,) = (path.relative_to(root / "translations") for path in root.glob("translations/*/*/*"))
    place = PLACES[kind].format(run=run.fingerprint, base=base.fingerprint, shard=shard)
    expected = {
        one.fingerprint: study.store.record("runs", one.fingerprint)["metrics"] for one in study.grid.runs
    }
    fault(root / place)
    if kind == "lease" and (root / place).exists():
        os.utime(root / place, (1e9, 1e9))  # one that was written a moment ago may be a living driver's
    damaged = {"runs": run.fingerprint, "bases": base.fingerprint}.get(place.partition("/")[0], "")
    # deleting its record takes a piece of work away: it is missing then, not damaged
    missing = fault is delete and place.endswith(RECORD)
    at_once = damaged and not missing and (place.endswith(RECORD) or fault not in (flip, zeros))

    code, text = call("plan", study.file)
    assert code == (1 if at_once else 0), text
    assert not at_once or damaged in text

    code, text, scores = report(study, tmp_path / "out")
    touched = {name for name, score in scores.items() if not score}
    assert touched == ({run.fingerprint} if kind in SHOWN or (kind == "adapter" and at_once) else set())
    assert all(float(scores[one]) == expected[one]["macro_f1"] for one in expected.keys() - touched)
    assert code == (1 if at_once or (touched and not missing) else 0), text
    assert code == 0 or damaged in text

    assert call("store", "ls", study.store.url, "--long")[0] == 0

    code, text = call("store", "verify", study.store.url)
    seen = is_seen_by_verify(kind, fault, missing)
    assert code == (1 if seen else 0), text
    assert not seen or place.split("/")[1] in text

    kept = sound_work(study.store)
    assert call("store", "gc", study.store.url, "--yes")[0] == 0
    assert sound_work(study.store) == kept

    code, text = call("run", study.file)
    if kind in ("predictions", "adapter") and not at_once:  # named, and repaired by verify --repair
        assert code == (1 if kind == "predictions" else 0), text
        assert call("store", "verify", study.store.url, "--repair")[0] == 0
        code, text = call("run", study.file)
    assert code == 0, text
    assert call("plan", study.file)[0] == 0  # nothing damaged is left
    scores = report(study, tmp_path / "again")[2]
    assert {name: float(score) for name, score in scores.items()} == {
        name: metrics["macro_f1"] for name, metrics in expected.items()
    }


def test_a_record_that_says_another_score_than_its_predictions_is_caught(
    study: Study, tmp_path: Path
) -> None:
    """Sealed anew by who can compute a checksum: the predictions still say what the score is."""
    run = study.grid.runs[0]
    assert call("report", study.file)[0] == 0
    assert (tmp_path / "cache" / "agreed-scores").read_text().count("\n") == len(study.grid.runs)
    assert call("report", study.file)[0] == 0
    record = study.store.record("runs", run.fingerprint)
    files = tmp_path / "forged"
    shutil.copytree(Path(study.store.root, "runs", run.fingerprint), files)
    (files / RECORD).unlink()
    study.store.remove(f"runs/{run.fingerprint}")
    record["metrics"]["macro_f1"] += 13.5
    study.store.write("runs", run.fingerprint, record, files)
    assert call("plan", study.file)[0] == 0
    code, text = call("report", study.file)
    assert code == 1
    assert "its predictions give" in text
    code, text = call("store", "verify", study.store.url)
    assert code == 1
    assert "its predictions give" in text
    for value in (float("nan"), None, "61", True, 10**400):
        study.store.remove(f"runs/{run.fingerprint}")
        record["metrics"]["macro_f1"] = value
        study.store.write("runs", run.fingerprint, record, files)
        code, text = call("report", study.file)
        assert (code, "expected a finite number" in text) == (1, True)


def test_a_plan_as_json_lists_damage(study: Study) -> None:
    run = study.grid.runs[0]
    truncate(Path(study.store.root, "runs", run.fingerprint, RECORD))
    code, text = call("plan", study.file, "--json")
    (damaged,) = json.loads(text)["damaged"]
    assert code == 1
    assert damaged["place"] == f"runs/{run.fingerprint}"
    assert damaged["label"] == run.label


def test_a_damaged_base_of_the_right_size_is_made_again_before_runs_start_from_it(study: Study) -> None:
    run, base = study.grid.runs[0], study.grid.bases[0]
    study.store.remove(f"runs/{run.fingerprint}")
    weights = Path(study.store.root, "bases", base.fingerprint, "model.safetensors")
    zeros(weights)
    code, text = call("run", study.file)
    assert code == 0, text
    assert f"bases/{base.fingerprint}" in text
    assert set(weights.read_bytes()) != {0}
    assert len(study.store.names("quarantine/bases")) == 1


def test_a_file_that_cannot_be_read_now_is_no_damage(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """A score is not shown, and no remedy is given that would train the run again."""
    read = Files.read

    def fails(error: OSError) -> Callable[[Files, str], bytes]:
        def fail(files: Files, place: str) -> bytes:
            if place.endswith("predictions.parquet"):
                raise error
            return read(files, place)

        return fail

    for error, expected in ((StoreAway("no answer"), 75), (PermissionError(errno.EACCES, "denied", "x"), 2)):
        monkeypatch.setattr(Files, "read", fails(error))
        code, text = call("report", study.file)
        assert code == expected, text
        assert "--repair" not in text


def test_predictions_that_no_metric_can_score_are_damaged(study: Study, tmp_path: Path) -> None:
    run = study.grid.runs[0]
    record, files = study.store.record("runs", run.fingerprint), tmp_path / "forged"
    files.mkdir()
    study.store.remove(f"runs/{run.fingerprint}")
    pq.write_table(pa.table({"gold": [1, 2], "prediction": [{"a": 1}] * 2}), files / "predictions.parquet")
    study.store.write("runs", run.fingerprint, record, files)
    for words in (("report", study.file), ("store", "verify", study.store.url)):
        code, text = call(*words)
        assert (code, "cannot be scored" in text) == (1, True), text
