"""What fusion costs: FLARE's training step and memory against LoRA's and input-level fusion's.

    python benchmarks/fusion.py [--model xlmr-base|xlmr-large|llama-1b|small] [--rows 8] [--tokens 128] [--steps 5]

Random weights in the real shapes: a step's cost does not depend on what the weights say. Every figure is a ratio
within one run: the contenders take turns step by step, and the median of the steps counts. On a CPU the clock is
the process's own CPU time, which other load on the machine hardly touches; on a GPU it is wall time. Peak memory
counts tensors as operations make and free them (on a GPU, by CUDA's allocator), above those alive before the step.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForSequenceClassification, LlamaConfig, XLMRobertaConfig

from flare_ray.fusion import FlareConfig

SHAPES: dict[str, Any] = {
    "small": lambda: XLMRobertaConfig(
        vocab_size=8000,
        hidden_size=512,
        num_hidden_layers=6,
        num_attention_heads=8,
        intermediate_size=2048,
        max_position_embeddings=1026,
    ),
    "xlmr-base": lambda: XLMRobertaConfig(vocab_size=250002, max_position_embeddings=1026),
    "xlmr-large": lambda: XLMRobertaConfig(
        vocab_size=250002,
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        max_position_embeddings=1026,
    ),
    "llama-1b": lambda: LlamaConfig(
        vocab_size=128256,
        hidden_size=2048,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        intermediate_size=8192,
        pad_token_id=0,
    ),
}
LIMITS = {"pass": 1.60, "given": 1.10, "memory": 1.15, "input_fusion": 0.60}


class PeakOfTensors(TorchDispatchMode):
    """Peak bytes of the tensors alive on the CPU, counted by their storages as operations make and free them."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor):
                self._see(tensor)
        return out

    def _see(self, tensor: Tensor) -> None:
        import weakref

        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.alive:
            return
        self.alive[key] = storage.nbytes()
        self.now += self.alive[key]
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._freed, key)

    def _freed(self, key: int) -> None:
        self.now -= self.alive.pop(key, 0)


def contenders(shape: str, fusion: str, dtype: torch.dtype, device: str) -> dict[str, Any]:
    """A LoRA model and a FLARE model over one base's shapes, r = 64 and α = 128 as in the paper."""
    config = SHAPES[shape]()
    config.num_labels = 3
    llama = config.model_type == "llama"
    targets = (
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        if llama
        else ["query", "value"]
    )
    shared: dict[str, Any] = {"r": 64, "lora_alpha": 128, "target_modules": targets, "task_type": "SEQ_CLS"}
    models = {}
    for name, peft_config in {
        "lora": LoraConfig(**shared),
        "flare": FlareConfig(**shared, fusion=fusion),
    }.items():
        torch.manual_seed(0)
        base = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False).to(
            device, dtype
        )
        models[name] = get_peft_model(base, peft_config).to(device).train()
    return models


def steps_of(models: dict[str, Any], rows: int, tokens: int, device: str) -> dict[str, Callable[[], None]]:
    """One training step (forward, backward, optimizer) of each contender."""
    vocabulary = models["lora"].config.vocab_size
    generator = torch.Generator().manual_seed(1)
    ids, source = (
        torch.randint(5, vocabulary, (rows, tokens), generator=generator).to(device) for _ in range(2)
    )
    mask = torch.ones_like(ids)
    labels = (torch.arange(rows) % 3).to(device)
    target = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    states = models["flare"].base_model.encode_source(source, mask)
    both = {
        "input_ids": torch.cat([source, ids], 1),
        "attention_mask": torch.cat([mask, mask], 1),
        "labels": labels,
    }
    calls = {
        "lora": ("lora", target),
        "pass": ("flare", target | {"source_input_ids": source, "source_attention_mask": mask}),
        "given": ("flare", target | {"source_states": states, "source_attention_mask": mask}),
        "input_fusion": ("lora", both),
    }
    optimizers = {
        name: torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
        for name, model in models.items()
    }

    def step(name: str, inputs: dict[str, Tensor]) -> Callable[[], None]:
        def run() -> None:
            models[name](**inputs).loss.backward()
            optimizers[name].step()
            optimizers[name].zero_grad(set_to_none=True)
            if device == "cuda":
                torch.cuda.synchronize()

        return run

    return {label: step(name, inputs) for label, (name, inputs) in calls.items()}


def peak(step: Callable[[], None], device: str) -> int:
    """Bytes a step needs above what lay in memory before it."""
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    with PeakOfTensors() as counted:
        step()
    return counted.peak


def operations(step: Callable[[], None]) -> int:
    """Floating-point operations of a step's matrix products: what its time cannot go far below."""
    with FlopCounterMode(display=False) as counted:
        step()
    return counted.get_total_flops()


def resident(model: Any) -> int:
    """Bytes of a model's weights."""
    return sum(value.numel() * value.element_size() for value in model.parameters())


def main() -> None:
    """Run, print a table, and say which limits hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=SHAPES, default="xlmr-base")
    parser.add_argument("--fusion", default="add_relu")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default=None)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON alone")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, chosen.dtype or ("bfloat16" if device == "cuda" else "float32"))
    models = contenders(chosen.model, chosen.fusion, dtype, device)
    steps = steps_of(models, chosen.rows, chosen.tokens, device)
    times: dict[str, list[float]] = {name: [] for name in steps}
    clock = time.perf_counter if device == "cuda" else time.process_time
    for turn in range(chosen.steps + 1):
        for name, step in steps.items():
            start = clock()
            step()
            if turn:
                times[name].append(clock() - start)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    memory = {name: peak(step, device) for name, step in steps.items()}
    flops = {name: operations(step) for name, step in steps.items()}
    weights = resident(models["lora"].get_base_model())
    figures = {
        "model": chosen.model,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "dtype": str(dtype),
        "rows": chosen.rows,
        "tokens": chosen.tokens,
        "seconds": seconds,
        "step_bytes": memory,
        "step_flops": flops,
        "weight_bytes": weights,
        "ratios": {
            "pass": seconds["pass"] / seconds["lora"],
            "given": seconds["given"] / seconds["lora"],
            "memory": (memory["pass"] + weights) / (memory["lora"] + weights),
            "memory_of_the_step_alone": memory["pass"] / memory["lora"],
            "input_fusion": seconds["pass"] / seconds["input_fusion"],
            "input_fusion_by_operations": flops["pass"] / flops["input_fusion"],
        },
    }
    if chosen.json:
        print(json.dumps(figures))
        return
    for name in steps:
        mib, gflop = memory[name] / 2**20, flops[name] / 1e9
        print(
            f"{name:13} {seconds[name] * 1e3:9.1f} ms  {gflop:9.1f} GFLOP  {mib:8.1f} MiB above the weights"
        )
    for name, ratio in figures["ratios"].items():
        limit = LIMITS.get(name)
        verdict = "" if limit is None else f"   limit {limit:.2f}: {'holds' if ratio <= limit else 'MISSED'}"
        print(f"{name:26} {ratio:5.2f}{verdict}")


if __name__ == "__main__":
    main()
