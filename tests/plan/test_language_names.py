"""One language has one fingerprint, whatever name a sweep file gives it."""

from pathlib import Path

import pytest
from small_study import write_data

from flare_ray.errors import InputError
from flare_ray.plan.grid import expand
from flare_ray.plan.load import load_sweep

SWEEP = """\
name: names
storage: {folder}/store
models: [sandbox-xlm-r]
tasks: [nusax]
data: {{nusax: {folder}/data}}
methods: [lora]
seeds: [0]
languages: {languages}
"""


def fingerprints(folder: Path, languages: str) -> list[tuple[str, str]]:
    file = folder / "sweep.yaml"
    file.write_text(SWEEP.format(folder=folder, languages=languages), encoding="utf-8")
    return [(run.cell.language, run.fingerprint) for run in expand(load_sweep(file)).runs]


def test_any_name_gives_the_same_runs(tmp_path: Path) -> None:
    write_data(tmp_path / "data", ["english", "banjarese", "acehnese"])
    usual = fingerprints(tmp_path, "[bjn]")
    assert [language for language, _ in usual] == ["bjn"]
    for name in ("banjarese", "bjn_Latn", "Banjar"):
        assert fingerprints(tmp_path, f"[{name}]") == usual
    assert fingerprints(tmp_path, "[bjn, banjarese]") == usual
    with pytest.raises(InputError, match="klingon"):
        fingerprints(tmp_path, "[klingon]")


RULES = (
    """\
include: [{{language: {0}}}]
""",
    """\
exclude: [{{language: [{0}]}}]
""",
    """\
overrides: [{{language: {0}, training: {{epochs: 2}}}}]
""",
)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("languages", ["all", "[bjn, ace]"])
def test_rules_know_every_name(rule: str, languages: str, tmp_path: Path) -> None:
    write_data(tmp_path / "data", ["english", "banjarese", "acehnese"])
    usual = fingerprints(tmp_path, f"{languages}\n{rule.format('bjn')}")
    assert usual != fingerprints(tmp_path, languages)
    for name in ("banjarese", "bjn_Latn", "Banjar"):
        assert fingerprints(tmp_path, f"{languages}\n{rule.format(name)}") == usual
    with pytest.raises(InputError, match="klingon"):
        fingerprints(tmp_path, f"{languages}\n{rule.format('klingon')}")
