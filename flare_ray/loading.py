"""Load models, tokenizers, adapters and hub data sets: no other module calls `from_pretrained` or `load_dataset`.

    load_model("AutoModelForSeq2SeqLM", **origin("facebook/nllb-200-3.3B"), dtype=torch.bfloat16)

Content that somebody else made is data. Libraries can run code that lies beside it, some after a question on the
terminal that `yes |` answers, so each call here says no: `trust_remote_code=False` for `auto_map` and
`custom_generate/`, and no file may name a module or a kernel repository that a library would import. A checkpoint
that cannot be loaded without its own code raises InputError.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flare_ray.errors import InputError, Problem

_CONFIG, _ADAPTER = "config.json", "adapter_config.json"
_KERNELS = ("attn_implementation", "experts_implementation")
"""Endings of keys in config.json whose value may be a hub repository with compiled code."""
_WHOLE = "a whole checkpoint, with the files that save_pretrained writes"
_BROKEN = (
    "SafetensorError",
    "JSONDecodeError",
    "UnpicklingError",
    "StrictDataclassFieldValidationError",
    "StrictDataclassClassValidationError",
)
"""Errors of libraries about the content of a checkpoint's files."""
_ABSENT = ("RepositoryNotFoundError", "GatedRepoError", "RevisionNotFoundError", "RemoteEntryNotFoundError")
"""Errors of huggingface_hub that a later attempt gets as well."""
_REMEDY = "use a checkpoint of a class that transformers has, or convert it to one; its own code is never run"


class BrokenCheckpoint(InputError):
    """A checkpoint that is not there, or whose files do not make a whole model. Permanent."""


def load_config(*, pretrained_model_name_or_path: str, revision: str | None = None) -> Any:
    """Return a checkpoint's configuration. Raises InputError where it is broken or needs code of its own, OSError."""
    from transformers import AutoConfig

    return _refusing(
        pretrained_model_name_or_path,
        lambda: AutoConfig.from_pretrained(
            pretrained_model_name_or_path, revision=_branch(revision), trust_remote_code=False
        ),
    )


def load_tokenizer(*, pretrained_model_name_or_path: str, revision: str | None = None) -> Any:
    """Return a checkpoint's tokenizer. Raises InputError where it is broken or needs code of its own, OSError."""
    from transformers import AutoTokenizer

    return _refusing(
        pretrained_model_name_or_path,
        lambda: AutoTokenizer.from_pretrained(
            pretrained_model_name_or_path, revision=_branch(revision), trust_remote_code=False
        ),
    )


def load_model(
    kind: str | type[Any], *, pretrained_model_name_or_path: str, revision: str | None = None, **settings: Any
) -> Any:
    """Return a checkpoint's model.

    kind: name of a class of transformers (`AutoModelForSeq2SeqLM`), or such a class. settings: for `from_pretrained`.

    Raises:
        InputError: it is broken, needs code of its own, or is an adapter, whose base model transformers would fetch
            by name.
    """
    import transformers

    if "trust_remote_code" in settings:
        raise TypeError("trust_remote_code is always False")
    name = pretrained_model_name_or_path
    if problems := _unsafe(name, _files(name, revision)):
        raise InputError(name, problems)
    loader: Any = getattr(transformers, kind) if isinstance(kind, str) else kind
    return _refusing(
        name,
        lambda: loader.from_pretrained(name, revision=_branch(revision), trust_remote_code=False, **settings),
    )


def load_adapter(base: Any, folder: Path, *, is_trainable: bool = False) -> Any:
    """Return a base model with an adapter that PEFT saved. Raises InputError where it names a module to import."""
    from peft import PeftModel

    if problems := list(_adapter_problems(str(folder), _mapping(folder / _ADAPTER))):
        raise InputError(str(folder), problems)
    return PeftModel.from_pretrained(base, str(folder), is_trainable=is_trainable, trust_remote_code=False)


def load_hub_dataset(name: str, config: str, split: str, revision: str | None = None) -> Any:
    """Return one split of a hub data set. Loading scripts are refused, by old versions of datasets too."""
    import datasets

    return datasets.load_dataset(name, config, split=split, revision=revision, trust_remote_code=False)


def code_problems(folder: Path, where: str, name: str = "") -> list[Problem]:
    """Return why a local checkpoint cannot be loaded without code of its own; cheap for one without such code.

    where: dotted path into the sweep file. name: what the folder holds, if the folder is a temporary copy.
    """
    files = {name: folder / name for name in (_CONFIG, _ADAPTER)}
    problems = _unsafe(where, files)
    if not problems and "auto_map" in _mapping(files[_CONFIG]):
        try:
            load_config(pretrained_model_name_or_path=str(folder))
        except BrokenCheckpoint:
            return []  # not this check's to report
        except InputError as error:
            problems = [Problem(where, problem.found, problem.wanted) for problem in error.problems]
        except (OSError, ValueError, KeyError, TypeError):
            return []  # other faults of a configuration are not this check's
    shown = name or str(folder)
    return [Problem(where, problem.found.replace(str(folder), shown), problem.wanted) for problem in problems]


def _refusing(name: str, load: Callable[[], Any]) -> Any:
    """Call `load`; convert the library's refusal to run code, and its errors about broken files, into InputError."""
    try:
        return load()
    except Exception as error:  # safetensors, tokenizers and huggingface_hub have errors of their own
        if isinstance(error, ValueError) and "trust_remote_code" in str(error):
            got = f"{name}: it has code of its own (auto_map), which would have to run"
            raise InputError(name, [Problem("checkpoint", got, _REMEDY)]) from error
        if not (_is_broken(error) if Path(name).is_dir() else _is_absent(error)):
            raise
        got = f"{name}: {type(error).__name__}: {' '.join(str(error).split())}"
        raise BrokenCheckpoint(name, [Problem("checkpoint", got, _WHOLE)]) from error


def _is_broken(error: Exception) -> bool:
    """Return whether an error is about the content of a local folder; a disk's own errors have a number."""
    if isinstance(error, OSError):
        return error.errno is None
    said = str(error)
    return (
        type(error).__name__ in _BROKEN
        or (isinstance(error, ValueError) and said.startswith("Unrecognized"))
        or (isinstance(error, ValueError) and "does not recognize this architecture" in said)
        or (isinstance(error, ImportError) and "quantized model requires" in said)
        or (isinstance(error, ValueError | TypeError) and _in_configuration(error))
        or (isinstance(error, RuntimeError) and "ignore_mismatched_sizes" in said)
    )


def _in_configuration(error: Exception) -> bool:
    """Return whether an error was raised while a configuration or generation configuration was read."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    return any(file.endswith(("configuration_utils.py", "configuration_auto.py")) for file in files)


def _is_absent(error: BaseException | None) -> bool:
    """Return whether the hub has answered that it has no such thing, or not for this user."""
    while error is not None:
        if type(error).__name__ in _ABSENT:
            return True
        error = error.__cause__ or error.__context__
    return False


def _files(name: str, revision: str | None) -> dict[str, Path]:
    """Return the checkpoint's configuration files that are there; those of a hub id as transformers fetches them."""
    if Path(name).is_dir():
        return {one: Path(name, one) for one in (_CONFIG, _ADAPTER)}
    from transformers.utils import cached_file

    files = {}
    for one in (_CONFIG, _ADAPTER):
        path = cached_file(
            name,
            one,
            revision=_branch(revision),
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if path is not None:
            files[one] = Path(path)
    return files


def _unsafe(where: str, files: dict[str, Path]) -> list[Problem]:
    """Return what in a checkpoint's files would make a library import or fetch something else."""
    problems = []
    if _ADAPTER in files and files[_ADAPTER].is_file():
        got = f"{files[_ADAPTER]}: an adapter in the place of a whole model"
        problems.append(Problem(where, got, "merge it into its base model and save that"))
    if _CONFIG in files:
        for key, value in _walk(_mapping(files[_CONFIG])):
            if key.endswith(_KERNELS) and isinstance(value, str) and "/" in value:
                got = f"{files[_CONFIG]}: {key} {value!r}, code from a hub repository"
                problems.append(Problem(where, got, f"remove {key} from it"))
    return problems


def _adapter_problems(where: str, config: dict[str, Any]) -> Iterator[Problem]:
    """Yield the fields of an adapter_config.json that PEFT imports modules or loads other files by."""
    if config.get("megatron_config"):
        module = config.get("megatron_core")
        yield Problem(where, f"megatron_core {module!r}, a module to be imported", "remove megatron_config")
    if config.get("peft_type") == "XLORA":
        yield Problem(where, "peft_type XLORA, which loads adapters from other places", "a single adapter")


def _walk(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every (key, value) of nested JSON."""
    pending = [(key, value)]
    while pending:
        key, value = pending.pop()
        yield key, value
        if isinstance(value, dict):
            # a value below `attn_implementation` may be named after a part of the model
            pending += [(key if key.endswith(_KERNELS) else str(name), item) for name, item in value.items()]
        elif isinstance(value, list):
            pending += [(key, item) for item in value]


def _mapping(file: Path) -> dict[str, Any]:
    """Return a JSON file's mapping; empty where there is none: who loads it reports what is wrong with it."""
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _branch(revision: str | None) -> str:
    return revision or "main"
