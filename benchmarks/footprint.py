"""The estimate of core.models.footprint against the memory a fresh worker process really takes, cell by cell.

python -m benchmarks.footprint [--shapes ...] [--weights ...] [--kv ...] [--contexts ...] [--folder DIR] [--threads N]
python -m benchmarks.footprint --against benchmarks/results/footprint.json: the estimates of today, measurements kept

Each cell is a process of its own that does what the inference worker does: its imports, the vocabulary, loading through
core.models.load, choosing a decoder, reading a prompt and decoding until `context` tokens are held. Models are random
weights in real shapes, with a vocabulary of as many entries as the real ones have, written to --folder once.

What is measured: the peak of the process's own memory (USS) as it is when no other program shares its libraries. The
kernel keeps the highest resident size exactly (VmHWM), so no peak falls between two samples; from it we take what the
process shares with others (libc and the like), libraries of Python packages and the model's own files not counted as
shared. Mapped weights are in it: on Linux a page of a file that one process alone maps is that process's own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny": ("qwen3", {}),
    "starter": ("llama", {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
                          "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64, "vocab_size": 49152}),
    "0.1B": ("qwen2", {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 12, "vocab_size": 65536,
                       "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 64,
                       "tie_word_embeddings": False}),
    "v1": ("qwen", {"hidden_size": 768, "intermediate_size": 4096, "num_hidden_layers": 12, "vocab_size": 151936,
                    "num_attention_heads": 12, "kv_channels": 64, "seq_length": 4096}),
    "moe": ("qwen3_moe", {"hidden_size": 512, "num_hidden_layers": 8, "vocab_size": 65536, "num_attention_heads": 8,
                          "num_key_value_heads": 4, "head_dim": 64, "num_experts": 32, "num_experts_per_tok": 4,
                          "moe_intermediate_size": 256}),
    "0.3B": ("qwen3", {"hidden_size": 1024, "intermediate_size": 2048, "num_hidden_layers": 16, "vocab_size": 151936,
                       "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 64}),
    "0.6B": ("qwen3", {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "vocab_size": 151936,
                       "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128}),
}  # fmt: skip
LONGEST = 8192  # tokens the models say they can hold
DECODED = 16
MB = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--weights", default="bfloat16,auto,float32,int8,int4")
    parser.add_argument("--kv", default="plain,int8")
    parser.add_argument("--contexts", default="300,2048")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "footprint-models")
    parser.add_argument("--against", type=Path, help="measurements of an earlier run: only the estimates are made anew")
    parser.add_argument("--child", nargs=4, metavar=("FOLDER", "WEIGHTS", "KV", "CONTEXT"))
    parser.add_argument("--make")
    options = parser.parse_args()
    if options.child:
        child(Path(options.child[0]), options.child[1], options.child[2], int(options.child[3]), options.threads)
    elif options.make:
        make(options.make, options.folder / options.make)
    elif options.against:
        print(json.dumps(summary(again(options), options), indent=2))
    else:
        print(json.dumps(measure(options), indent=2))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    cells = []
    for shape in options.shapes.split(","):
        folder = options.folder / shape
        if not (folder / "model.safetensors").exists():
            run("--make", shape, "--folder", str(options.folder), threads=options.threads)
        for weights in options.weights.split(","):
            for kv_cache in options.kv.split(","):
                for context in map(int, options.contexts.split(",")):
                    cells.append(cell(shape, folder, weights, kv_cache, context, options.threads))
                    print(json.dumps(cells[-1]), file=sys.stderr, flush=True)
    return summary(cells, options)


def again(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The cells of an earlier run with the estimates of today."""
    cells = json.loads(options.against.read_text("utf-8"))["cells"]
    for entry in cells:
        folder = options.folder / entry["shape"]
        if not (folder / "model.safetensors").exists():
            run("--make", entry["shape"], "--folder", str(options.folder), threads=options.threads)
        if "measured_mb" in entry:
            entry |= estimated(folder, entry["weights"], entry["kv_cache"], entry["context"], options.threads)
            error = 100 * (entry["estimate_mb"] - entry["measured_mb"]) / entry["measured_mb"]
            entry["error_percent"] = round(error, 2)
    return list(cells)


def estimated(folder: Path, weights: str, kv_cache: str, context: int, threads: int) -> dict[str, Any]:
    from core.load_options import LoadOptions
    from core.models.footprint import estimate, read_shape

    wanted = LoadOptions(weights=weights, kv_cache=kv_cache)  # type: ignore[arg-type]
    need = estimate(read_shape(folder), wanted, context=context, threads=threads)
    parts = {name: round(getattr(need, name) / MB, 1) for name in ("weights", "kv_cache", "workspace", "overhead")}
    return {"estimate_mb": round(need.total / MB, 1), "parts_mb": parts}


def summary(cells: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    errors = [entry["error_percent"] for entry in cells if "error_percent" in entry]
    return {
        "what": "estimated against measured peak of a fresh process's own memory, CPU",
        "must": "median of |error| <= 3 %, largest <= 8 %, never more than 3 % under",
        "median_percent": statistics.median(map(abs, errors)) if errors else None,
        "largest_percent": max(map(abs, errors), default=None),
        "most_under_percent": min(errors, default=None),
        "cells_measured": len(errors),
        "threads": options.threads,
        "load_average": os.getloadavg()[0],
        "processor": platform.processor() or platform.machine(),
        "cells": cells,
    }


def cell(shape: str, folder: Path, weights: str, kv_cache: str, context: int, threads: int) -> dict[str, Any]:
    found: dict[str, Any] = {"shape": shape, "weights": weights, "kv_cache": kv_cache, "context": context}
    found |= estimated(folder, weights, kv_cache, context, threads)
    ended = run("--child", str(folder), weights, kv_cache, str(context), threads=threads)
    if ended.returncode:
        return found | {"failed": ended.stderr.strip().splitlines()[-1:]}
    real = json.loads(ended.stdout.splitlines()[-1])
    measured = real["peak"] / MB
    error = 100 * (found["estimate_mb"] - measured) / measured
    return found | {
        "error_percent": round(error, 2), "measured_mb": round(measured, 1), **real["facts"],
        "phases_mb": {name: [round(value / MB, 1) for value in pair] for name, pair in real["phases"].items()},
    }  # fmt: skip


def run(*arguments: str, threads: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.footprint", *arguments, "--threads", str(threads)]
    return subprocess.run(command, capture_output=True, text=True, timeout=3600)


# --- in the fresh process -----------------------------------------------------


def child(folder: Path, weights: str, kv_cache: str, context: int, threads: int) -> None:
    import app.workers.inference_worker as worker

    clock = Phases(folder)
    clock.end("start")
    worker._import_libraries()
    import torch

    torch.set_num_threads(threads)
    clock.end("libraries")
    from core.chat.chat_format import chat_format
    from core.chat.turns import Sampling
    from core.chat.vocabulary import Vocabulary
    from core.inference.choice import choose_with_adapters
    from core.inference.engine import Engine, PromptReady
    from core.load_options import LoadOptions
    from core.models import memory
    from core.models.load import Loading, LoadStep

    vocabulary = Vocabulary.load(folder)
    kept = [vocabulary, chat_format(folder, vocabulary)]
    memory.trim_heap()
    clock.end("vocabulary")
    options = LoadOptions(weights=weights, kv_cache=kv_cache)  # type: ignore[arg-type]
    decoders = []

    def decode(model: Any, tell: Any) -> None:
        clock.end("load")
        length, exact = model.context_length, model.placement.is_exact
        made = choose_with_adapters(
            model.model, length, is_exact=exact, kv_cache=options.kv_cache,
            tell=lambda done, total: tell(LoadStep("packing_weights", done, total)),
        )  # fmt: skip
        decoders.append(made)

    loading = Loading(folder, options, then=decode)
    for _ in loading:
        pass
    model, decoder = loading.model, decoders[0]
    clock.end("choose")
    engine = Engine(decoder, model.context_length)
    ids = random.Random(0).choices(range(vocabulary.size), k=context - DECODED)
    for step in engine.generate(ids, Sampling(temperature=0, max_new_tokens=DECODED)):
        if isinstance(step, PromptReady):
            clock.end("read")
    clock.end("decode")
    facts = {"decoder": type(decoder._plain).__name__, "in_memory": model.weights, "backend": model.backend}
    facts["weight_bytes"] = str(model.weight_bytes)
    print(json.dumps({"peak": clock.peak(), "facts": facts, "phases": clock.phases, "kept": len(kept)}))


class Phases:
    """Own memory at the end of each part of the work, and its highest value within it. Bytes."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._ours = (str(folder), sys.prefix, sys.base_prefix)
        # Own memory, its peak, what of it is mapped from the model, and what is in no file.
        self.phases: dict[str, tuple[int, int, int, int]] = {}

    def end(self, name: str) -> None:
        resident, shared, mapped = self._memory()
        self.phases[name] = (resident - shared, status("VmHWM") - shared, mapped, status("RssAnon"))
        Path("/proc/self/clear_refs").write_text("5")  # begins the high-water mark anew

    def peak(self) -> int:
        return max(peak for _, peak, _, _ in self.phases.values())

    def _memory(self) -> tuple[int, int, int]:
        """Resident, and what of it is shared with other programs, and what is mapped from the model's files."""
        resident = shared = mapped = 0
        is_ours = is_model = False
        for line in Path("/proc/self/smaps").read_text().splitlines():
            name, *rest = line.split()
            if not name.endswith(":"):
                is_ours = len(rest) > 4 and rest[4].startswith(self._ours)
                is_model = len(rest) > 4 and rest[4].startswith(self._folder)
            elif name == "Rss:":
                resident += int(rest[0]) * 1024
                mapped += int(rest[0]) * 1024 if is_model else 0
            elif name in ("Shared_Clean:", "Shared_Dirty:") and not is_ours:
                shared += int(rest[0]) * 1024
        return resident, shared, mapped


def status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


# --- models ---------------------------------------------------------------------


def make(shape: str, folder: Path) -> None:
    """Random weights in bf16, with a vocabulary of the right size."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen3MoeConfig

    from core.models.qwen_v1.configuration import QWenConfig
    from core.models.qwen_v1.registration import register
    from tests.helpers import tiny_models

    register()
    kind, sizes = SHAPES[shape]
    sizes = sizes | {"max_position_embeddings": LONGEST}
    if kind == "qwen":
        config: Any = QWenConfig(**sizes)
    elif kind == "qwen3_moe":
        config = Qwen3MoeConfig(**sizes)
    else:
        config = tiny_models.config(kind, **sizes)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model = model.to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.02)
    model.tie_weights()
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    write_vocabulary(folder, config.vocab_size)


def write_vocabulary(folder: Path, size: int) -> None:
    """A byte-level BPE tokenizer of `size` entries, all but the single bytes made by merges."""
    from tests.helpers.tiny_gguf import byte_tokens
    from tests.helpers.tiny_models import TEMPLATE

    tokens, merges = byte_tokens(), []
    known, chance = set(tokens), random.Random(0)
    while len(tokens) < size - 3:
        left, right = chance.choice(tokens), chance.choice(tokens)
        if left + right not in known and len(left + right) <= 12:
            known.add(left + right)
            tokens.append(left + right)
            merges.append([left, right])
    added = [
        {"id": len(tokens) + place, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for place, content in enumerate(("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    ]  # fmt: skip
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "vocab": {token: id for id, token in enumerate(tokens)}, "merges": merges,
             "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": False, "byte_fallback": False, "ignore_merges": False}  # fmt: skip
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
                 "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
                 "model": model}  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")


if __name__ == "__main__":
    main()
