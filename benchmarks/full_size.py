"""Does a training step fit? The study's models at full size, random weights: a step of each method, peak memory.

    python benchmarks/full_size.py [--model llama-3.1-8b …] [--method flare …] [--small] [--json]

Needs no download: a step's memory does not depend on what the weights say. Decoders are quantised to NF4 as in the
study; micro-batch and gradient checkpointing are the model's own in flare_ray/models/. Inputs are as long as the
longest of Table 5 (512 tokens; twice that for input-level fusion where the model has the positions). On a CPU only
`--small` runs: the same code on shrunken shapes.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from typing import Any

import torch
import transformers
from torch import nn

from flare_ray import registry
from flare_ray.methods.base import Batch, Posed
from flare_ray.models.base import Family
from flare_ray.plan.checkpoints import known_models

SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "xlm-r-large": (
        "XLMRobertaConfig",
        {
            "vocab_size": 250002,
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
        },
    ),
    "mt5-xl": (
        "MT5Config",
        {
            "vocab_size": 250112,
            "d_model": 2048,
            "d_kv": 64,
            "d_ff": 5120,
            "num_layers": 24,
            "num_heads": 32,
            "decoder_start_token_id": 0,
        },
    ),
    "llama-3.1-8b": (
        "LlamaConfig",
        {
            "vocab_size": 128256,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 8192,
        },
    ),
    "gemma-2-9b": (
        "Gemma2Config",
        {
            "vocab_size": 256000,
            "hidden_size": 3584,
            "intermediate_size": 14336,
            "num_hidden_layers": 42,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 256,
            "query_pre_attn_scalar": 256,
            "max_position_embeddings": 8192,
        },
    ),
}
SHRUNK = {
    "hidden_size": 64,
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 128,
    "num_layers": 2,
    "num_heads": 4,
    "head_dim": 16,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
}
MT_WIDTH = 1024  # NLLB-200 distilled 600M
TASKS = {"classification": "nusax", "span": "tydiqa", "generation": "tydiqa"}


def build(name: str, form: str, small: bool, device: str) -> Any:
    """A model of a known checkpoint's shape with random weights, quantised as in the study."""
    kind, shape = SHAPES[name]
    if small:
        shape = shape | {key: value for key, value in SHRUNK.items() if key in shape}
    config = getattr(transformers, kind)(
        **shape, pad_token_id=1, eos_token_id=2, bos_token_id=3, num_labels=2
    )
    facts = known_models()[name]
    family: Family = registry.load("models", facts["family"])
    config._attn_implementation = family.attention
    loader = getattr(transformers, registry.load("forms", form).auto_class)
    with torch.device(device):
        torch.set_default_dtype(torch.bfloat16)
        try:
            model = loader.from_config(config, attn_implementation=family.attention, trust_remote_code=False)
        finally:
            torch.set_default_dtype(torch.float32)
    if facts["quantization"] == "nf4":
        quantise(model, device)
    model.requires_grad_(False)
    if facts["gradient_checkpointing"]:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.config.use_cache = False
    return model


def quantise(model: nn.Module, device: str) -> None:
    """Every linear layer but the output embeddings in NF4, one after another, so that little is there twice."""
    import bitsandbytes as bnb

    from flare_ray.fusion.quantised import keep_differentiable

    for path, module in list(model.named_modules()):
        if type(module) is not nn.Linear or path == "lm_head":
            continue
        layer = bnb.nn.Linear4bit(
            module.in_features,
            module.out_features,
            bias=module.bias is not None,
            compute_dtype=torch.bfloat16,
            compress_statistics=True,
            quant_type="nf4",
        )
        layer.weight = bnb.nn.Params4bit(
            module.weight.data.cpu(), requires_grad=False, quant_type="nf4", module=layer
        )
        parent, _, child = path.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.to(device))
    keep_differentiable(model)


def batch_of(
    posed: Posed, rows: int, tokens: int, vocabulary: int, limit: int, device: str
) -> dict[str, Batch]:
    """Random rows of full length for each way of reading them: target, both, joined, translator's states."""

    def side(length: int) -> dict[str, Any]:
        ids = torch.randint(10, vocabulary, (rows, length), device=device)
        ids[:, -1] = 2
        found = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if posed.form.name == "classification":
            return found | {"labels": torch.arange(rows, device=device) % 2}
        if posed.form.name == "span":
            place = torch.full((rows,), length // 2, device=device)
            return found | {"start_positions": place, "end_positions": place}
        labels = ids.clone()
        labels[:, : length - 8] = -100
        return found | {"labels": labels}

    source = side(tokens)
    states = torch.randn(rows, tokens, MT_WIDTH, device=device, dtype=torch.bfloat16)
    mask = torch.ones(rows, tokens, dtype=torch.long, device=device)
    text = {name: source[name] for name in ("input_ids", "attention_mask")}
    return {
        "target": Batch(side(tokens), step=1),
        "both": Batch(side(tokens), source=text, step=1),
        "labelled": Batch(side(tokens), source=source, step=1),
        "joined": Batch(side(min(2 * tokens, limit)), step=1),
        "states": Batch(
            side(tokens), states={"source_states": states, "source_attention_mask": mask}, step=1
        ),
    }


def step(
    model: Any, name: str, method_name: str, form: str, tokens: int, device: str, rows: int
) -> dict[str, Any]:
    """Builds a method on the model, trains one step, and tells what it took."""
    method = registry.load("methods", method_name)
    family = registry.load("models", known_models()[name]["family"])
    posed = Posed(family, registry.load("forms", form), registry.load("tasks", TASKS[form]))
    settings = {"rank": 64, "alpha": 128, "dropout": 0.0, "fusion": "add_relu", "source_width": MT_WIDTH}
    settings |= method.Options().model_dump()
    built = method.build(model, settings, posed).to(device).train()
    limit = getattr(model.config, "max_position_embeddings", 1 << 20) - 2
    way = "target"
    if method.joins:
        way = "joined"
    elif method.translator(settings):
        way = "states"
    elif method.reads == "both":
        way = "labelled" if method.trains_on_source else "both"
    batch = batch_of(posed, rows, tokens, model.config.vocab_size, limit, device)[way]
    optimizer = torch.optim.AdamW([p for p in built.parameters() if p.requires_grad], lr=1e-4)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    loss = built(**method.inputs(batch, settings)).loss
    loss.backward()
    optimizer.step()
    facts = {
        "model": name,
        "method": method_name,
        "form": form,
        "rows": rows,
        "tokens": batch.target["input_ids"].shape[1],
        "loss": loss.item(),
        "trained": sum(p.numel() for p in built.parameters() if p.requires_grad),
    }
    if device == "cuda":
        torch.cuda.synchronize()
        facts["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        facts["device"] = torch.cuda.get_device_name()
    return facts | {"seconds": time.perf_counter() - started}


def measure(names: list[str], methods: list[str], small: bool, device: str) -> list[dict[str, Any]]:
    """One step of each method on each model, each on fresh weights."""
    found = []
    for name in names:
        facts = known_models()[name]
        form = registry.load("models", facts["family"]).forms["question_answering"]
        rows = 2 if small else (facts["micro_batch"] or 64)
        for method in methods:
            torch.manual_seed(0)
            model = build(name, form, small, device)
            found.append(step(model, name, method, form, 32 if small else 512, device, rows))
            del model
            gc.collect()
            if device == "cuda":
                torch.cuda.empty_cache()
    return found


def main() -> None:
    """Run and print a line per step."""
    trained = [name for name in registry.names("methods") if registry.load("methods", name).trains]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--method", nargs="+", choices=trained, default=trained)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not chosen.small:
        parser.error("full size needs a GPU; --small runs anywhere")
    for facts in measure(chosen.model, chosen.method, chosen.small, device):
        if chosen.json:
            print(json.dumps(facts), flush=True)
        else:
            peak = f"{facts['peak_gib']:6.1f} GiB" if "peak_gib" in facts else "   no GPU"
            size = f"{facts['rows']} × {facts['tokens']} tokens"
            print(
                f"{facts['model']:14} {facts['method']:13} {size:18} {peak}  {facts['trained'] / 1e6:8.2f}M trained",
                flush=True,
            )


if __name__ == "__main__":
    main()
