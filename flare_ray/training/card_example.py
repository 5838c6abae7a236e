"""The lines of a model card that load an adapter and ask it once, as they can be pasted into Python.

    lines_of(record, folder)   # STORE and TRANSLATOR stand for folders of the reader's own

The example's input is what the run read in evaluation: token ids and mask alone, with the English text in the way of
the method.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flare_ray import registry
from flare_ray.forms.base import Form
from flare_ray.forms.generation import MAX_ANSWER
from flare_ray.plan.checkpoints import SANDBOX, is_local, translator
from flare_ray.tasks.base import Task
from flare_ray.translation.checkpoints import flores

ADAPTER_CONFIG = "adapter_config.json"
_MIXUP = "mixup.json"


def lines_of(record: Mapping[str, Any], folder: Path) -> str:
    """Return Python that loads a run's adapter and reads one row. folder: the adapter's files."""
    task: Task = registry.load("tasks", record["task"])
    form = registry.load("models", record["family"]).form(task.kind)
    lines = [*_loading(record, folder, form), "", *_texts(record, task, form)]
    return "\n".join([*lines, "", *_call(record, folder, task, form)])


def _loading(record: Mapping[str, Any], folder: Path, form: Form) -> Iterator[str]:
    """Yield the imports, and the lines that load base model, tokenizer and adapter."""
    base, auto = f"STORE/bases/{record['base']}", form.auto_class
    yield "import torch"
    if _encoder(record):
        yield f"from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, {auto}"
    else:
        yield f"from transformers import AutoTokenizer, {auto}"
    if (folder / _MIXUP).exists():
        yield "from flare_ray.mixup import MixupModel"
        load = 'MixupModel.from_pretrained(base, "adapter")'
    else:
        config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        yield "from peft import PeftModel"
        if config["peft_type"] == "FLARE":
            yield "from flare_ray.fusion import FlareConfig  # makes FLARE known to PEFT"
        load = 'PeftModel.from_pretrained(base, "adapter")'
    if _joins(record):
        yield "from flare_ray import registry"
    yield ""
    yield f'base = {auto}.from_pretrained("{base}")'
    yield f'tokenizer = AutoTokenizer.from_pretrained("{base}")'
    yield f"model = {load}.eval()"


def _texts(record: Mapping[str, Any], task: Task, form: Form) -> Iterator[str]:
    """Yield the lines that make `target` and, where the method reads it, `english`."""
    yield f'target = tokenizer({_text(record["language"], task, form)}, return_tensors="pt")'
    if _reads_english(record):
        yield f'english = tokenizer({_text("English", task, form)}, return_tensors="pt")'
    if checkpoint := _encoder(record):
        text = " ".join(f"{column} in {record['language']}" for column in task.text_columns)
        code = flores(record["language"])
        yield f'encoder = AutoModelForSeq2SeqLM.from_pretrained("{checkpoint}").get_encoder()'
        yield f'encoder_tokenizer = AutoTokenizer.from_pretrained("{checkpoint}", src_lang="{code}")'
        yield f'encoded = encoder_tokenizer("{text}", return_tensors="pt")'


def _text(language: str, task: Task, form: Form) -> str:
    """Return the arguments that a tokenizer gets for one row, its texts replaced by their names."""
    row = {column: f"{column} in {language}" for column in task.text_columns}
    if form.name == "generation":
        return json.dumps(task.prompt(row), ensure_ascii=False)
    columns = ("question", "context") if form.name == "span" else task.text_columns
    return ", ".join(json.dumps(row[column], ensure_ascii=False) for column in columns)


def _call(record: Mapping[str, Any], folder: Path, task: Task, form: Form) -> Iterator[str]:
    """Yield the lines that call the model and print its answer."""
    if _joins(record):
        yield from _joined(form)
    else:
        yield 'inputs = {name: target[name] for name in ("input_ids", "attention_mask")}'
    yield "with torch.no_grad():"
    yield from (f"    {line}" for line in _source(record, folder))
    if form.name == "generation":
        room = "" if task.labels else "  # the run: at most a quarter of max_length"
        yield f"    output = model.generate(**inputs, max_new_tokens={MAX_ANSWER}, do_sample=False){room}"
        yield 'print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))'
    elif form.name == "span":
        yield "    output = model(**inputs)"
        yield "start, end = output.start_logits.argmax(-1).item(), output.end_logits.argmax(-1).item()"
        yield 'print(tokenizer.decode(inputs["input_ids"][0, start : end + 1]))'
    else:
        yield "    logits = model(**inputs).logits"
        yield "print(model.config.id2label[logits.argmax(-1).item()])"


def _joined(form: Form) -> Iterator[str]:
    """Yield the lines that put the English text before the target's in one input."""
    yield f'glue = registry.load("forms", "{form.name}").glue(tokenizer)'
    yield 'source, own = english["input_ids"][0].tolist(), target["input_ids"][0].tolist()'
    yield "special = [token in tokenizer.all_special_ids for token in source]"
    yield "before, behind = special.index(False), special[::-1].index(False)"
    yield "joined = torch.tensor([source[: len(source) - behind] + glue + own[before:]])"
    yield 'inputs = {"input_ids": joined, "attention_mask": torch.ones_like(joined)}'


def _source(record: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Yield the lines that add the source to `inputs`."""
    if _encoder(record):
        yield 'inputs["source_states"] = encoder(**encoded).last_hidden_state'
        yield 'inputs["source_attention_mask"] = encoded["attention_mask"]'
    elif (folder / _MIXUP).exists():
        yield 'inputs["source"] = {name: english[name] for name in ("input_ids", "attention_mask")}'
    elif _reads_english(record) and not _joins(record):
        yield 'inputs["source_input_ids"] = english["input_ids"]'
        yield 'inputs["source_attention_mask"] = english["attention_mask"]'
    elif registry.load("methods", record["method"]).reads_source and not _joins(record):
        yield 'inputs["without_source"] = True'


def _reads_english(record: Mapping[str, Any]) -> bool:
    method = registry.load("methods", record["method"])
    return bool(method.reads_source and method.source_at_test(record["settings"]) != "none")


def _joins(record: Mapping[str, Any]) -> bool:
    return bool(registry.load("methods", record["method"]).joins)


def _encoder(record: Mapping[str, Any]) -> str | None:
    """Return where the reader finds the translation model whose states are the source; None without one."""
    method = registry.load("methods", record["method"])
    if "mt_model" not in method.Options.model_fields:
        return None
    checkpoint = translator(record["settings"]["mt_model"])
    return "TRANSLATOR" if checkpoint.startswith(SANDBOX) or is_local(checkpoint) else checkpoint
