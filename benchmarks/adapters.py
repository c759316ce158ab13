"""What an adapter costs while decoding: `python -m benchmarks.adapters FOLDER` prints one JSON object.

Greedy steps after a prompt, in turn: the base alone, the base with a LoRA of random factors on all seven linear layers
(lean pass), the same through the module with hooks, and PEFT's own module. Tokens a second each, median of the rounds;
and the time to read the adapter's file and to switch between two that are in memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from core.inference.adapters import AdapterDecoder
from core.inference.choice import choose_with_adapters
from core.inference.module import ModuleDecoder
from core.models.families import DENSE
from core.models.load import load

PROMPT = list(range(100, 164))


def adapter(model: Path, folder: Path, rank: int) -> Path:
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(DENSE), task_type="CAUSAL_LM")
    with warnings.catch_warnings(action="ignore"):
        made: Any = get_peft_model(base, config)
        for name, parameter in made.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.01)
        made.save_pretrained(folder)
    return folder


def steps(decoder: Any, name: str, tokens: int) -> float:
    """Tokens a second of plain steps after the prompt."""
    cache = decoder.new_cache(len(PROMPT), name)
    for _ in decoder.read(PROMPT, cache):
        pass
    started = time.perf_counter()
    for number in range(tokens):
        decoder.step(200 + number % 50, cache)
    return tokens / (time.perf_counter() - started)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    loaded = load(options.folder)
    with tempfile.TemporaryDirectory() as work:
        one, two = (str(adapter(options.folder, Path(work) / name, options.rank)) for name in ("one", "two"))
        lean = choose_with_adapters(loaded.model, loaded.context_length, is_exact=False)
        reading = seconds(lambda: lean.need(one))
        lean.need(two)
        plain = ModuleDecoder(loaded.model, loaded.context_length)
        hooks = AdapterDecoder(loaded.model, plain, lambda module: ModuleDecoder(module, loaded.context_length))
        base = AutoModelForCausalLM.from_pretrained(options.folder, dtype=torch.bfloat16)
        peft = ModuleDecoder(PeftModel.from_pretrained(base, one).eval().get_base_model(), loaded.context_length)
        ways: dict[str, Callable[[], float]] = {
            "base": lambda: steps(lean, "", options.tokens),
            "adapter": lambda: steps(lean, one, options.tokens),
            "adapter through hooks": lambda: steps(hooks, one, options.tokens),
            "adapter through PEFT": lambda: steps(peft, "", options.tokens),
        }
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, way in ways.items():
                speeds[name].append(way())
        caches = [lean.new_cache(1, name) for name in (one, two)]
        switch = [seconds(lambda at=at: lean.step(5, caches[at % 2])) for at in range(40)]  # type: ignore[misc]
        stay = [seconds(lambda: lean.step(5, caches[0])) for _ in range(40)]
    figures = {
        "rank": options.rank,
        "tokens_per_s": {name: round(statistics.median(found), 2) for name, found in speeds.items()},
        "read_adapter_s": round(reading, 3),
        "step_ms": {"two adapters in turn": _ms(switch), "one adapter": _ms(stay)},
        "torch_threads": torch.get_num_threads(),
    }
    print(json.dumps(figures, indent=2))


def _ms(found: list[float]) -> float:
    return round(1000 * statistics.median(found), 2)


if __name__ == "__main__":
    main()
