import csv
import io
import re
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from flare_ray.report.table import AVERAGE, Block, Value, as_csv, as_markdown, as_rich, blocks

LANGUAGES, SEEDS = ("ace", "jav"), (1, 2, 3)
METRICS = {"nusax": "macro_f1", "other": "accuracy"}


def planned(*variants: str, model: str = "tiny", task: str = "nusax") -> list[dict[str, Any]]:
    return [
        {
            "fingerprint": f"{model} {task} {variant} {language} {seed}",
            "model": model,
            "task": task,
            "language": language,
            "variant": variant,
            "seed": seed,
        }
        for language in LANGUAGES
        for variant in variants
        for seed in SEEDS
    ]


def scored(runs: list[dict[str, Any]], seed: int = 0) -> dict[str, dict[str, Any]]:
    """Records with scores of no pattern; the metrics that are not shown are there too."""
    chance = np.random.default_rng(seed)
    return {
        run["fingerprint"]: {
            "metrics": {
                "macro_f1": float(chance.uniform(20, 90)),
                "accuracy": float(chance.uniform(20, 90)),
            }
        }
        for run in runs
    }


def the_block(runs: list[dict[str, Any]], records: dict[str, Any], failed: tuple[str, ...] = ()) -> Block:
    (block,) = blocks(runs, records, failed, METRICS)
    return block


def score(records: dict[str, Any], variant: str, language: str, seed: int) -> float:
    return records[f"tiny nusax {variant} {language} {seed}"]["metrics"]["macro_f1"]


def test_mean_and_sample_deviation_over_seeds() -> None:
    runs = planned("lora", "flare")
    records = scored(runs)
    block = the_block(runs, records)
    for variant in ("lora", "flare"):
        for language in LANGUAGES:
            values = [score(records, variant, language, seed) for seed in SEEDS]
            value = block.rows[variant][language]
            assert value.mean == pytest.approx(np.mean(values))
            assert value.std == pytest.approx(np.std(values, ddof=1))
            assert str(value) == f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}"
        seedwise = [np.mean([score(records, variant, code, seed) for code in LANGUAGES]) for seed in SEEDS]
        average = block.rows[variant][AVERAGE]
        assert average.mean == pytest.approx(np.mean(seedwise))
        assert average.std == pytest.approx(np.std(seedwise, ddof=1))


def test_the_order_of_runs_and_records_does_not_matter_for_the_numbers() -> None:
    runs = planned("lora", "flare")
    records = scored(runs)
    one, other = the_block(runs, records), the_block(runs[::-1], dict(reversed(records.items())))
    for variant, row in one.rows.items():
        for column, value in row.items():
            assert other.rows[variant][column].mean == pytest.approx(value.mean)
            assert other.rows[variant][column].std == pytest.approx(value.std)


def test_one_seed_has_no_deviation() -> None:
    assert str(Value((61.26,), 1)) == "61.3"
    assert Value((61.26,), 1).std is None


def test_what_is_missing_says_so() -> None:
    runs = planned("lora", "flare")
    records = scored(runs)
    for seed in SEEDS:
        del records[f"tiny nusax flare ace {seed}"]
    del records["tiny nusax lora jav 2"]
    block = the_block(runs, records)
    assert str(block.rows["flare"]["ace"]) == "–"
    assert str(block.rows["flare"][AVERAGE]) == "–"
    assert str(block.rows["lora"]["jav"]).endswith(" (n=2)")
    assert "n=" not in str(block.rows["lora"]["ace"])
    assert block.seeds == 3
    assert "n=3" in block.title


def test_the_average_is_over_the_seeds_that_have_every_language() -> None:
    """Else a seed would be compared with one that was tested on easier languages."""
    runs = planned("lora")
    records = scored(runs)
    del records["tiny nusax lora jav 2"]
    average = the_block(runs, records).rows["lora"][AVERAGE]
    whole = [np.mean([score(records, "lora", code, seed) for code in LANGUAGES]) for seed in (1, 3)]
    assert average.scores == pytest.approx(whole)
    assert str(average).endswith("(n=2)")


def test_failed_cells_say_so_and_failures_are_counted_by_seed() -> None:
    runs = planned("lora", "flare")
    records = scored(runs)
    failed = [f"tiny nusax flare {code} {seed}" for code in LANGUAGES for seed in SEEDS]
    failed += ["tiny nusax lora ace 1"]
    for fingerprint in failed:
        del records[fingerprint]
    block = the_block(runs, records, tuple(failed))
    assert {str(value) for value in block.rows["flare"].values()} == {"failed"}
    assert {value.failed for value in block.rows["flare"].values()} == {3}
    assert {column: value.failed for column, value in block.rows["lora"].items()} == {
        "ace": 1,
        "jav": 0,
        AVERAGE: 1,
    }
    assert str(block.rows["lora"]["ace"]).endswith("(n=2)")


def test_nothing_run_yet_is_a_table_of_dashes() -> None:
    block = the_block(planned("lora", "flare"), {})
    assert {str(value) for row in block.rows.values() for value in row.values()} == {"–"}
    assert all(block.best(column) is None for column in block.columns)
    assert "**" not in as_markdown(block)
    assert as_markdown(block).count("–") == 6


def test_each_model_and_task_is_a_block_with_its_metric() -> None:
    runs = [
        *planned("lora"),
        *planned("lora", task="other"),
        *planned("lora", "flare", model="large"),
    ]
    records = scored(runs)
    made = blocks(runs, records, (), METRICS)
    assert [(block.model, block.task, block.metric) for block in made] == [
        ("tiny", "nusax", "macro_f1"),
        ("tiny", "other", "accuracy"),
        ("large", "nusax", "macro_f1"),
    ]
    assert [list(block.rows) for block in made] == [["lora"], ["lora"], ["lora", "flare"]]
    shown = [records[f"tiny other lora ace {seed}"]["metrics"]["accuracy"] for seed in SEEDS]
    assert made[1].rows["lora"]["ace"].mean == pytest.approx(np.mean(shown))


# ---- bold


def block_of(**means: tuple[float | None, ...]) -> Block:
    rows = {
        variant: {
            code: Value((), 1) if mean is None else Value((mean,), 1)
            for code, mean in zip("abc", values, strict=False)
        }
        for variant, values in means.items()
    }
    return Block("tiny", "nusax", "macro_f1", 1, tuple("abc"[: len(next(iter(means.values())))]), rows)


def bold_markdown(block: Block) -> dict[str, list[bool]]:
    lines = [line for line in as_markdown(block).splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: [cell.startswith("**") and cell.endswith("**") for cell in row[1:]] for row in cells}


def bold_terminal(block: Block) -> dict[str, list[bool]]:
    table = as_rich(block)
    columns = [list(column.cells) for column in table.columns]
    rows = zip(*columns, strict=True)
    return {str(row[0]): [str(cell).startswith("[bold]") for cell in row[1:]] for row in rows}


@pytest.mark.parametrize("bold", [bold_markdown, bold_terminal])
def test_the_best_of_a_column_is_bold_with_ties_as_printed(bold: Any) -> None:
    block = block_of(one=(61.26, 50.0, None), two=(61.34, 49.0, 12.0), three=(61.24, 51.0, 3.0))
    assert [str(block.rows[name]["a"]) for name in ("one", "two", "three")] == ["61.3", "61.3", "61.2"]
    assert bold(block) == {
        "one": [True, False, False],
        "two": [True, False, True],
        "three": [False, True, False],
    }


@pytest.mark.parametrize("bold", [bold_markdown, bold_terminal])
def test_a_single_row_has_no_best(bold: Any) -> None:
    assert bold(block_of(one=(61.2, 50.0))) == {"one": [False, False]}


# ---- the forms


def test_markdown_has_a_row_per_method_and_a_column_per_language() -> None:
    runs = planned("zero_shot", "lora (r=4)")
    records = scored(runs)
    block = the_block(runs, records)
    lines = as_markdown(block).splitlines()
    assert lines[0] == "### tiny · nusax · macro_f1 (mean ± std over n=3 seeds)"
    assert lines[2] == "| method | ace | jav | avg |"
    assert [line.split("|")[1].strip() for line in lines[4:]] == ["zero_shot", "lora (r=4)"]
    assert {line.count("|") for line in lines[2:]} == {5}
    for line, row in zip(lines[4:], block.rows.values(), strict=True):
        numbers = [float(number) for number in re.findall(r"\d+\.\d", line)]
        expected = [round(x, 1) for value in row.values() for x in (value.mean, value.std) if x is not None]
        assert numbers == pytest.approx(expected)


def test_csv_parses_back_to_the_same_numbers() -> None:
    runs = [*planned("lora (r=4)", "flare (add_relu, r=4)"), *planned("lora (r=4)", model='odd, "name"')]
    records = scored(runs)
    del records["tiny nusax lora (r=4) ace 1"]
    for seed in SEEDS:
        del records[f"tiny nusax flare (add_relu, r=4) jav {seed}"]
    made = blocks(runs, records, ["tiny nusax lora (r=4) ace 1"], METRICS)
    read = list(csv.DictReader(io.StringIO(as_csv(made))))
    expected = [
        (block, variant, column) for block in made for variant in block.rows for column in block.columns
    ]
    assert len(read) == len(expected) == 9
    for line, (block, variant, column) in zip(read, expected, strict=True):
        value = block.rows[variant][column]
        assert (line["model"], line["task"], line["metric"]) == (block.model, block.task, block.metric)
        assert (line["method"], line["language"]) == (variant, column)
        assert (float(line["mean"]) if line["mean"] else None) == value.mean
        assert (float(line["std"]) if line["std"] else None) == value.std
        assert (int(line["n"]), int(line["planned"]), int(line["failed"])) == (value.n, 3, value.failed)


def test_the_terminal_shows_names_as_they_are_and_every_value() -> None:
    """Brackets in a model's name are not markup."""
    runs = planned("lora", "flare", model="xlm-r [v2]")
    block = the_block(runs, scored(runs))
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(as_rich(block))
    text = console.export_text()
    assert "xlm-r [v2] · nusax" in text
    for row in block.rows.values():
        for value in row.values():
            assert str(value) in text
