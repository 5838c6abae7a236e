"""What the code must not call: found in its syntax trees, so that a new call of it fails here."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import flare_ray

ROOT = Path(flare_ray.__file__).parent
MODULES = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")
CALLS = ("eval", "exec", "compile", "__import__")


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call with its dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> str | None:
    return next((ast.unparse(one.value) for one in call.keywords if one.arg == name), None)


def faults(source: str) -> list[str]:
    """What is forbidden in a source text."""
    tree, found = ast.parse(source), []
    for node in ast.walk(tree):
        names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [f"imports {name}" for name in names if name.partition(".")[0] in MODULES]
    for name, call in calls(tree):
        last = name.rpartition(".")[2]
        if name in CALLS or last in ("read_pickle", "to_pickle") or name.startswith("pickle."):
            found.append(name)
        if name == "torch.load" and keyword(call, "weights_only") != "True":
            found.append("torch.load without weights_only=True")
        if last in ("load", "memmap") and keyword(call, "allow_pickle") not in (None, "False"):
            found.append("allow_pickle")
        if name.startswith("yaml.") and last in ("load_all", "unsafe_load", "full_load", "unsafe_load_all"):
            found.append(name)
        if name == "yaml.load" and len(call.args) + len(call.keywords) < 2:
            found.append("yaml.load without a loader")
        if keyword(call, "shell") not in (None, "False") or name in ("os.system", "os.popen"):
            found.append("a shell")
        if last in ("extractall", "unpack_archive", "extract"):
            found.append(f"{name}: an archive's members may be links, absolute paths or have ..")
        if last in ("getoutput", "getstatusoutput", "create_subprocess_shell"):
            found.append("a shell")
        if keyword(call, "trust_remote_code") not in (None, "False"):
            found.append("trust_remote_code")
        if keyword(call, "weights_only") not in (None, "True"):
            found.append("weights_only off")
        if keyword(call, "verify") == "False" or last == "_create_unverified_context":
            found.append("certificates are not looked at")
    constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    found += ["0.0.0.0" for value in constants if value in ("0.0.0.0", "::")]
    return found


@pytest.mark.parametrize("file", sorted(ROOT.rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_that_runs_code_from_files_or_strings_is_called(file: Path) -> None:
    assert not faults(file.read_text())


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "np.load(f, allow_pickle=True)",
        "yaml.load(f)",
        "yaml.unsafe_load(f)",
        "subprocess.run(c, shell=True)",
        "os.system(c)",
        "eval(c)",
        "AutoModel.from_pretrained(n, trust_remote_code=True)",
        "requests.get(u, verify=False)",
        "server.bind('0.0.0.0')",
        "pd.read_pickle(f)",
        "tar.extractall(d)",
        "shutil.unpack_archive(f, d)",
        "zipfile.ZipFile(f).extractall(d)",
    ],
)
def test_the_walk_finds_what_it_looks_for(source: str) -> None:
    assert faults(source)


def test_the_only_yaml_loader_is_a_safe_one() -> None:
    import yaml

    from flare_ray.plan.yaml_values import _Loader

    assert issubclass(_Loader, yaml.SafeLoader)
    assert not issubclass(_Loader, yaml.UnsafeLoader | yaml.FullLoader)


def test_every_process_is_started_from_a_list_of_words() -> None:
    """A command in one string would go through a shell, or be cut at spaces of a path."""
    for file in ROOT.rglob("*.py"):
        for name, call in calls(ast.parse(file.read_text())):
            if name.startswith("subprocess.") and name.rpartition(".")[2] in ("run", "Popen", "check_output"):
                assert not isinstance(call.args[0], ast.Constant | ast.JoinedStr), (
                    f"{file}: {ast.unparse(call)}"
                )
