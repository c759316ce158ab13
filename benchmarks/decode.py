"""Decoding against transformers' generate: `python benchmarks/decode.py FOLDER` prints one JSON object.

Greedy, bf16, the same prompts, one after the other in turn ("pairs"), each order as often as the other. Counted are the
steps after the first token, in wall time and in CPU time of this process; then reading a prompt of 512 tokens.

Two modes of ours: `bfloat16` computes as transformers does and must give the same ids; `auto` is the default, which
reads prompts in fp32 where that is faster and attends faster, so that ids may part where two logits nearly tie. The
report says where they part and how far the two were from each other in transformers' own logits (in steps of bf16).

With `--weights int8` or `int4` (may be given more than once) those take the place of the two modes: the same decoding
with weights that were made while loading, still against transformers in bf16.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from core.chat.template import ChatTemplate
from core.chat.turns import Sampling, Turn
from core.chat.vocabulary import Vocabulary
from core.inference.choice import choose
from core.inference.engine import Ended, Engine, NewToken, PromptReady
from core.load_options import LoadOptions, WeightChoice
from core.models.load import load

PROMPTS = (
    "Explain how rainbows form, step by step.",
    "Write a short story about a fox who learns to read.",
    "What is the capital of France, and what is it known for?",
    "List five tips for learning to cook.",
    "Write a Python function that reverses a string.",
    "Describe the water cycle for a child.",
)
READ_TOKENS = 512
MUST = {"bfloat16": 1.3, "int8": 1.9}


@dataclass
class Run:
    """`wall_s` and `cpu_s` are those of the steps after the first token."""

    ids: list[int]
    steps: int
    wall_s: float
    cpu_s: float

    @property
    def speed(self) -> float:
        return self.steps / self.wall_s


class Clock:
    """Notes the first token and the last; also passes as a streamer of transformers."""

    def __init__(self) -> None:
        self.times: list[tuple[float, float]] = []

    def tick(self) -> None:
        self.times.append((time.perf_counter(), time.process_time()))

    def put(self, value: Any) -> None:
        self.tick()

    def end(self) -> None:
        pass

    def run(self, ids: list[int], first: int) -> Run:
        (wall, cpu), (wall_end, cpu_end) = self.times[first], self.times[-1]
        return Run(ids, len(self.times) - 1 - first, wall_end - wall, cpu_end - cpu)


def theirs(model: Any, prompt: list[int], tokens: int) -> Run:
    clock, ids = Clock(), torch.tensor([prompt])
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens, streamer=clock
    )
    return clock.run(output[0, len(prompt) :].tolist(), first=1)  # the streamer is given the prompt first


def ours(engine: Engine, prompt: list[int], tokens: int, stop_ids: frozenset[int]) -> Run:
    clock, ids = Clock(), []
    sampling = Sampling(temperature=0, top_p=1, top_k=0, repetition_penalty=1, max_new_tokens=tokens)
    for step in engine.generate(prompt, sampling, stop_ids=stop_ids):
        if isinstance(step, NewToken):
            ids.append(step.id)
        if isinstance(step, NewToken) or (isinstance(step, Ended) and step.reason == "stop"):
            clock.tick()
    engine.forget()
    return clock.run(ids, first=0)


def parting(model: Any, prompt: list[int], mine: list[int], other: list[int]) -> dict[str, Any] | None:
    """Where two continuations part, and by how much transformers' logits prefer its own choice there."""
    place = next((n for n, (a, b) in enumerate(zip(mine, other, strict=False)) if a != b), None)
    if place is None:
        return None
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + other[:place]])).logits[0, -1]
    best, own = logits[other[place]], logits[mine[place]]
    unit = 2.0 ** (int(torch.frexp(best)[1]) - 8)  # a bf16 has 8 significant bits
    return {
        "token": place,
        "logit": float(best),
        "gap": float(best - own),
        "gap_in_bf16_steps": float(best - own) / unit,
    }


def compare(mode: WeightChoice, folder: Path, reference: Any, options: argparse.Namespace) -> dict[str, Any]:
    loaded = load(folder, LoadOptions(weights=mode))
    is_exact = loaded.placement.is_exact
    engine = Engine(choose(loaded.model, loaded.context_length, is_exact=is_exact), loaded.context_length)
    template = ChatTemplate(Vocabulary.load(folder))
    prompts = [template.prompt([Turn("user", text)]).ids for text in PROMPTS]
    ours(engine, prompts[0], 8, loaded.stop_ids)
    theirs(reference, prompts[0], 8)
    pairs, parted = [], []
    for number in range(max(options.pairs, len(prompts))):
        prompt = prompts[number % len(prompts)]
        if number % 2:
            other = theirs(reference, prompt, options.tokens)
        mine = ours(engine, prompt, options.tokens, loaded.stop_ids)
        if not number % 2:
            other = theirs(reference, prompt, options.tokens)
        pairs.append((mine, other))
        visible = [id for id in other.ids if id not in loaded.stop_ids]
        if number < len(prompts) and mine.ids != visible:
            parted.append({"prompt": number} | (parting(reference, prompt, mine.ids, visible) or {}))
    ratios = [mine.speed / other.speed for mine, other in pairs[: options.pairs]]
    return {
        "ids_equal": not parted,
        "parted": parted,
        "ratio": statistics.median(ratios),
        "cpu_ratio": statistics.median((b.cpu_s / b.steps) / (a.cpu_s / a.steps) for a, b in pairs),
        "ratios": ratios,
        "ours_tokens_per_s": statistics.median(a.speed for a, _ in pairs),
        "theirs_tokens_per_s": statistics.median(b.speed for _, b in pairs),
        "read_512_tokens_per_s": reading(engine, prompts),
        "precision_reason": loaded.placement.precision_reason,
        "weights": loaded.weights,
        "weight_bytes": loaded.weight_bytes,
        "backend": loaded.backend,
    }


def reading(engine: Engine, prompts: list[list[int]]) -> float:
    """Tokens per second of reading a fresh prompt of 512 tokens, the best of 3."""
    prompt = [id for part in prompts for id in part * 4][:READ_TOKENS]
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        for step in engine.generate(prompt, Sampling(max_new_tokens=1)):
            if isinstance(step, PromptReady):
                seconds.append(time.perf_counter() - begin)
        engine.forget()
    return READ_TOKENS / min(seconds)


def reading_theirs(model: Any) -> float:
    ids = torch.arange(1000, 1000 + READ_TOKENS)[None]
    begin = time.perf_counter()
    with torch.inference_mode():
        model(ids, use_cache=True, logits_to_keep=1)
    return READ_TOKENS / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", choices=("int8", "int4"), action="append")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    modes: list[WeightChoice] = options.weights or ["bfloat16", "auto"]
    reference = transformers.AutoModelForCausalLM.from_pretrained(options.folder, dtype=torch.bfloat16).eval()
    report = {
        "what": "greedy decode, ours / transformers generate in bf16, tokens per second after the first",
        "must": {mode: MUST[mode] for mode in modes if mode in MUST},
        "pairs": options.pairs,
        "tokens": options.tokens,
        "threads": options.threads,
        "load_average": os.getloadavg()[0],
        "processor": platform.processor() or platform.machine(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        **{mode: compare(mode, options.folder, reference, options) for mode in modes},
        "theirs_read_512_tokens_per_s": reading_theirs(reference),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
