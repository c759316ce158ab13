"""What keys and values in 8 bits cost and save: `python benchmarks/kv_cache.py FOLDER` prints one JSON object.

Decoding with plain, int8 and int8_compatible rows after contexts of several lengths, the three in turn, each order as
often as the other; on the model in FOLDER and on random weights of the shape of Qwen3-0.6B. Contexts are filled with
random rows, since what they hold does not change the time. Below `int8_begins_at` tokens int8 is plain: the same speed,
the same bytes. Memory is that of the rows, counted and as this process grew. Then the quality on the model in FOLDER,
int8 packed from the first token on: a fixed text (the licence of this project), the first part read, the rest stepped
through token by token, perplexity and distance from the plain rows over the rest. "exact" there is the same with plain
rows, computed in another order: what bf16 makes of differences that mean nothing.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
import os
import platform
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch
import transformers

from core.chat.vocabulary import Vocabulary
from core.inference.choice import choose
from core.inference.decoder import KVKind
from core.models.load import load

KINDS: tuple[KVKind, ...] = ("plain", "int8", "int8_compatible")
TEXT = Path(__file__).parent.parent / "LICENSE"
ROOM = 16  # tokens after the longest context


def qwen3_0_6b() -> Any:
    """Random weights; the config's own defaults are those of another size."""
    config = transformers.Qwen3Config(
        vocab_size=151_936, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
        num_key_value_heads=8, head_dim=128, max_position_embeddings=40_960, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        return transformers.Qwen3ForCausalLM(config).requires_grad_(False).eval()
    finally:
        torch.set_default_dtype(before)


def decoders(model: Any, longest: int) -> dict[KVKind, Any]:
    return {kind: choose(model, longest + ROOM, is_exact=False, kv_cache=kind) for kind in KINDS}


@torch.inference_mode()
def filled(decoder: Any, like: Any, tokens: int) -> Any:
    """A cache of so many random rows. like: a cache of the same model that holds something."""
    cache = decoder.new_cache(tokens)
    shapes = [[part.shape for part in layer.plain(1)] for layer in like.layers]
    for start in range(0, tokens, 512):
        count = min(512, tokens - start)
        for layer, (keys, values) in enumerate(shapes):
            made = (torch.randn(shape[1], count, shape[3], dtype=torch.bfloat16) for shape in (keys, values))
            cache.write(layer, *made)
        cache.advance(count)
    return cache


def resident() -> int:
    """Memory of this process alone, what the allocator keeps in store given back before."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(psutil.Process().memory_full_info().uss)


def speeds(made: dict[KVKind, Any], context: int, options: argparse.Namespace) -> dict[str, Any]:
    like = made["plain"].new_cache(1)
    for _ in made["plain"].read([1], like):
        pass
    caches, grown = {}, {}
    for kind, decoder in made.items():
        before = resident()
        caches[kind] = filled(decoder, like, context)
        grown[kind] = resident() - before
        decoder.step(1, caches[kind])  # the kernels and tables are there
        caches[kind].crop(context)
    seconds: dict[str, list[float]] = {kind: [] for kind in made}
    for number in range(options.rounds):
        for kind in made if number % 2 else reversed(made):
            begin = time.perf_counter()
            for step in range(options.steps):
                made[kind].step(step, caches[kind])
            seconds[kind].append((time.perf_counter() - begin) / options.steps)
            caches[kind].crop(context)
    return {
        "context": context,
        "tokens_per_s": {kind: 1 / statistics.median(found) for kind, found in seconds.items()},
        "speed_to_plain": {kind: ratio(seconds["plain"], found) for kind, found in seconds.items()},
        "bytes": {kind: cache.size_bytes for kind, cache in caches.items()},
        "bytes_to_plain": {kind: cache.size_bytes / caches["plain"].size_bytes for kind, cache in caches.items()},
        "resident_to_plain": {kind: grown[kind] / grown["plain"] for kind in caches},
    }


def ratio(plain: list[float], other: list[float]) -> float:
    """The median over the rounds, each round's own pair compared."""
    return statistics.median(a / b for a, b in zip(plain, other, strict=True))


def quality(made: dict[str, Any], ids: list[int], read: int) -> dict[str, Any]:
    found = {kind: teacher_forced(decoder, ids, read) for kind, decoder in made.items()}
    targets = torch.tensor(ids[read:])[:, None]
    plain = found["plain"]
    losses = {kind: float(-logits.gather(1, targets).mean()) for kind, logits in found.items()}
    return {
        "tokens": len(targets),
        "after": read,
        "perplexity": {kind: math.exp(loss) for kind, loss in losses.items()},
        "perplexity_to_plain": {kind: math.exp(loss - losses["plain"]) for kind, loss in losses.items()},
        "divergence_from_plain": {
            kind: float((plain.exp() * (plain - logits)).sum(-1).mean()) for kind, logits in found.items()
        },
        "same_first_choice": {
            kind: float((plain.argmax(-1) == logits.argmax(-1)).float().mean()) for kind, logits in found.items()
        },
    }


def teacher_forced(decoder: Any, ids: list[int], read: int) -> torch.Tensor:
    """Log probabilities of what follows each token from the last read one on."""
    cache = decoder.new_cache(len(ids))
    reading = decoder.read(ids[:read], cache)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            logits = [end.value]
            break
    logits += [decoder.step(id, cache) for id in ids[read:-1]]
    return torch.stack(logits).float().log_softmax(-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--contexts", type=int, nargs="+", default=[128, 512, 1024, 2048, 4096])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=ROOM)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--text", type=int, default=1024, help="tokens for the quality, half of them read")
    parser.add_argument("--only", choices=("folder", "shape"), default="")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report: dict[str, Any] = {
        "what": "decode over plain, int8 and int8_compatible keys and values, tokens per second",
        "must": {
            "int8 speed_to_plain": 1.0,
            "int8 bytes_to_plain from int8_begins_at on": 0.55,
            "int8 perplexity_to_plain": 1.005,
        },
        "rounds": options.rounds,
        "steps": options.steps,
        "threads": options.threads,
        "load_average": os.getloadavg()[0],
        "processor": platform.processor() or platform.machine(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    longest = max(options.contexts)
    if options.only != "shape":
        model = load(options.folder).model
        made = decoders(model, longest)
        exact = choose(model, longest + ROOM, is_exact=True, kv_cache="plain")
        ids = Vocabulary.load(options.folder).encode_text(TEXT.read_text("utf-8"))[: options.text]
        report["folder"] = {
            "int8_begins_at": made["int8"].keeping.begins_at,
            "speeds": [speeds(made, context, options) for context in options.contexts],
        }
        made["int8"].keeping = replace(made["int8"].keeping, begins_at=0)
        report["folder"]["quality"] = quality({**made, "exact": exact}, ids, len(ids) // 2)
    if options.only != "folder":
        made = decoders(qwen3_0_6b(), longest)
        report["qwen3_0_6b_shape"] = {
            "int8_begins_at": made["int8"].keeping.begins_at,
            "speeds": [speeds(made, context, options) for context in options.contexts],
        }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
