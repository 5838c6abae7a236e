"""Code beside a checkpoint, an adapter or a data set is never run, whatever stands on standard input."""

import ast
import importlib
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

import flare_ray
from flare_ray import loading, registry
from flare_ray.errors import InputError
from flare_ray.models.base import origin
from flare_ray.plan.schema import ModelSpec
from flare_ray.preflight.sweep import model_findings
from tests.small_study import write_study

PACKAGE = Path(flare_ray.__file__).parent
ROOT = PACKAGE.parent
LOADERS = ("from_pretrained", "load_dataset", "load_dataset_builder", "from_config")
FORBIDDEN = (
    "get_class_from_dynamic_module",
    "AutoPeftModel",
    "pipeline",
    "load_custom_generate",
    "custom_generate",
)
OWN = {
    # The tokenizer is written two lines above. The file's digest is the sandbox's version, so it stays as it is.
    "flare_ray/sandbox/tokenizer.py": ("AutoTokenizer.from_pretrained(folder)",),
}


def faults(source: str, own: tuple[str, ...] = ()) -> list[str]:
    """Ways of loading with a library in a source text that do not say `trust_remote_code=False`."""
    tree, found, called = ast.parse(source), [], set[int]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) in LOADERS:
            called.add(id(node.func))
            given = {one.arg: one.value for one in node.keywords}.get("trust_remote_code")
            if (
                not (isinstance(given, ast.Constant) and given.value is False)
                and ast.unparse(node) not in own
            ):
                found.append(ast.unparse(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and id(node) not in called and _name(node) in LOADERS:
            found.append(f"a reference to {_name(node)}")  # called under another name
        if isinstance(node, ast.Attribute | ast.Name | ast.alias) and _name(node).startswith(FORBIDDEN):
            found.append(_name(node))
        if isinstance(node, ast.keyword) and node.arg in FORBIDDEN:
            found.append(node.arg)
        if isinstance(node, ast.Constant) and node.value in LOADERS:
            found.append(f"the string {node.value!r}")
    return found


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return getattr(node, "id", "") or getattr(node, "name", "")


def sources() -> list[Path]:
    return [*sorted(PACKAGE.rglob("*.py")), *sorted((ROOT / "benchmarks").glob("*.py"))]


@pytest.mark.parametrize("file", sources(), ids=lambda file: str(file.relative_to(ROOT)))
def test_every_load_says_that_no_code_is_run(file: Path) -> None:
    place = file.relative_to(ROOT).as_posix()
    assert not faults(file.read_text(), OWN.get(place, ()))


def test_one_module_loads_for_all() -> None:
    calling = {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOADERS
    }
    assert calling == {"loading.py", "sandbox/tokenizer.py"}


@pytest.mark.parametrize(
    "source",
    [
        "AutoModel.from_pretrained(n)",
        "AutoConfig.from_pretrained(n, trust_remote_code=None)",
        "AutoTokenizer.from_pretrained(n, trust_remote_code=trusted)",
        "AutoModel.from_pretrained(n, **{'trust_remote_code': False})",
        "load = AutoModel.from_pretrained",
        "getattr(AutoModel, 'from_pretrained')(n)",
        "load_dataset('org/name')",
        "datasets.load_dataset('org/name', split='train')",
        "AutoModel.from_config(c)",
        "AutoPeftModelForCausalLM",
        "from transformers import pipeline",
        "model.generate(ids, custom_generate='org/name')",
    ],
)
def test_the_walk_finds_a_load_that_does_not(source: str) -> None:
    assert faults(source)


TRAP = "import os\nos.mkdir({!r})\nclass Trap:\n    pass\ndef generate(*words, **options):\n    pass\n"


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    """The folder that a trap makes when it is run."""
    return tmp_path / "sprung"


@pytest.fixture
def trapped(small_sandbox: Path, tmp_path: Path, sprung: Path) -> Path:
    """A real translation model that says it is of a class that lies beside it."""
    folder = tmp_path / "trapped"
    shutil.copytree(small_sandbox / "models" / "sandbox-nllb", folder)
    (folder / "custom_generate").mkdir()
    for name in ("trap.py", "custom_generate/generate.py"):
        (folder / name).write_text(TRAP.format(str(sprung)))
    names = ("AutoConfig", "AutoModel", "AutoModelForSeq2SeqLM", "AutoModelForSequenceClassification")
    change(folder / "config.json", model_type="trapped", auto_map=dict.fromkeys(names, "trap.Trap"))
    change(
        folder / "tokenizer_config.json",
        tokenizer_class="Trap",
        auto_map={"AutoTokenizer": ["trap.Trap", "trap.Trap"]},
    )
    return folder


def change(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def load_with_family(folder: Path) -> Any:
    import torch

    family = registry.load("models", "xlm_roberta")
    return family.load(str(folder), family.form("classification"), 3, torch.float32)


WAYS = {
    "configuration": lambda folder: loading.load_config(**origin(str(folder))),
    "tokenizer": lambda folder: loading.load_tokenizer(**origin(str(folder))),
    "model": lambda folder: loading.load_model("AutoModelForSeq2SeqLM", **origin(str(folder))),
    "a family's tokenizer": lambda folder: registry.load("models", "xlm_roberta").tokenizer(str(folder)),
    "a family's model": load_with_family,
    "a translator": lambda folder: backend("transformers", folder),
    "a converted translator": lambda folder: backend("ctranslate2", folder),
    "an encoder": lambda folder: encoder(folder),
}


def backend(name: str, folder: Path) -> Any:
    if name == "ctranslate2":
        pytest.importorskip("ctranslate2")
    return importlib.import_module("flare_ray.translation.backends.base").load(name, str(folder))


def encoder(folder: Path) -> Any:
    import torch

    from flare_ray.translation.encoder import TranslationEncoder

    return TranslationEncoder(str(folder), torch.float32, "cpu").encoder


class _Yes:
    """A terminal on which somebody always says yes."""

    def readline(self, *_: int) -> str:
        return "y\n"


@pytest.mark.parametrize("way", WAYS)
def test_no_way_of_loading_runs_it(
    way: str, trapped: Path, sprung: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", _Yes())
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(InputError, match="has code of its own"):
        WAYS[way](trapped)
    assert not sprung.exists()


def test_the_trap_works_where_it_is_trusted(trapped: Path, sprung: Path) -> None:
    from transformers import AutoConfig

    with suppress(Exception):  # what is no configuration fails somewhere, but its code was run
        AutoConfig.from_pretrained(trapped, trust_remote_code=True)
    assert sprung.exists()


def test_a_generate_of_a_known_class_s_own_is_not_run(trapped: Path, sprung: Path) -> None:
    change(trapped / "config.json", model_type="m2m_100")
    model = loading.load_model("AutoModelForSeq2SeqLM", **origin(str(trapped)))
    assert type(model).__module__.startswith("transformers.models.")
    assert "functools" not in repr(model.generate)
    assert not sprung.exists()


@pytest.mark.parametrize("command", [["plan"], ["doctor"], ["run"]])
def test_yes_to_every_question_runs_nothing(
    command: list[str], trapped: Path, sprung: Path, tmp_path: Path
) -> None:
    study = write_study(tmp_path / "study") | {"translation": {"model": str(trapped)}}
    study |= {"methods": ["translate_test"], "storage": str(tmp_path / "results")}
    done = flare(command, study, tmp_path)
    told = done.stdout + done.stderr
    assert not sprung.exists()
    assert "Traceback" not in told
    if command != ["plan"]:  # which loads nothing
        assert done.returncode == 2, told
        assert "has code of its own" in told


@pytest.mark.parametrize("command", [["doctor"], ["run"]])
def test_a_model_that_needs_its_code_is_refused_before_anything_starts(
    command: list[str], trapped: Path, sprung: Path, tmp_path: Path
) -> None:
    study = write_study(tmp_path / "study") | {"storage": str(tmp_path / "results")}
    study["models"] = [{"name": "trapped", "family": "xlm_roberta", "checkpoint": str(trapped)}]
    done = flare(command, study, tmp_path)
    told = done.stdout + done.stderr
    assert done.returncode == 2, told
    assert "has code of its own" in told
    assert "Traceback" not in told
    assert not sprung.exists()


def flare(command: list[str], study: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump(study))
    words = [sys.executable, "-c", "from flare_ray.cli import app; app()", *command, str(file)]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.run(
        words, input="y\n" * 100, capture_output=True, text=True, timeout=200, env=environment, cwd=folder
    )


def test_a_kernel_from_the_hub_is_not_fetched(small_sandbox: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kernel"
    shutil.copytree(small_sandbox / "models" / "sandbox-nllb", folder)
    change(folder / "config.json", attn_implementation="org/kernel")
    with pytest.raises(InputError, match="attn_implementation 'org/kernel'"):
        loading.load_model("AutoModelForSeq2SeqLM", **origin(str(folder)))
    change(folder / "config.json", attn_implementation={"": "sdpa", "decoder": "org/kernel@main"})
    (found,) = model_findings([ModelSpec(name="x", family="xlm_roberta", checkpoint=str(folder))])
    assert found.state == "bad"


def test_an_adapter_in_a_checkpoint_s_place_is_refused(small_sandbox: Path, tmp_path: Path) -> None:
    """transformers would fetch the base model that it names, and PEFT import what it names."""
    folder = tmp_path / "adapter"
    shutil.copytree(small_sandbox / "models" / "sandbox-nllb", folder)
    (folder / "adapter_config.json").write_text(
        '{"base_model_name_or_path": "org/other", "peft_type": "LORA"}'
    )
    with pytest.raises(InputError, match="an adapter in the place of a whole model"):
        loading.load_model("AutoModelForSeq2SeqLM", **origin(str(folder)))


def test_an_adapter_s_modules_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    def base() -> Any:
        sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 20}
        return LlamaForCausalLM(LlamaConfig(num_attention_heads=2, num_key_value_heads=2, **sizes))

    get_peft_model(base(), LoraConfig(r=2)).save_pretrained(tmp_path / "adapter")
    (tmp_path / "planted_module.py").write_text(TRAP.format(str(tmp_path / "sprung")))
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "adapter" / "adapter_config.json"
    mapping = {"base_model_class": "Trap", "parent_library": "planted_module"}
    change(file, auto_mapping=mapping, megatron_core="planted_module")
    assert loading.load_adapter(base(), file.parent) is not None, "neither is used"
    change(file, megatron_config={"tensor_model_parallel_size": 1})
    with pytest.raises(InputError, match="planted_module"):
        loading.load_adapter(base(), file.parent)
    assert not (tmp_path / "sprung").exists()
