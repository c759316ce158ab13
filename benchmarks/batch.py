"""Many prompts at once against one after the other: `python benchmarks/batch.py FOLDER` prints one JSON object.

Greedy, the same prompts, reading and decoding counted, in wall time and in CPU time of this process. "alone" is the
engine as chats use it, "together" what a file of prompts is answered by. Half precisions round differently in products
of another shape, so answers may part; how many are the same is said.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.decode import PROMPTS
from core.chat.template import ChatTemplate
from core.chat.turns import Sampling, Turn
from core.chat.vocabulary import Vocabulary
from core.inference.batch import Answered, answer_all
from core.inference.choice import choose
from core.inference.engine import Engine, NewToken
from core.load_options import LoadOptions
from core.models.load import LoadedModel, load

Answers = list[tuple[int, ...]]


def alone(loaded: LoadedModel, engine: Engine, prompts: list[list[int]], sampling: Sampling) -> Answers:
    answers = []
    for prompt in prompts:
        steps = engine.generate(prompt, sampling, stop_ids=loaded.stop_ids)
        answers.append(tuple(step.id for step in steps if isinstance(step, NewToken)))
        engine.forget()
    return answers


def together(loaded: LoadedModel, prompts: list[list[int]], sampling: Sampling) -> Answers:
    steps = answer_all(loaded.model, prompts, sampling, context_length=loaded.context_length, stop_ids=loaded.stop_ids)
    found = sorted((step for step in steps if isinstance(step, Answered)), key=lambda step: step.index)
    return [answer.ids for answer in found]


def timed(work: Callable[[], Answers]) -> tuple[Answers, float, float]:
    """The answers, and tokens a second of wall and of CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    answers = work()
    tokens = sum(len(ids) for ids in answers)
    return answers, tokens / (time.perf_counter() - wall), tokens / (time.process_time() - cpu)


def compare(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    loaded = load(folder, LoadOptions(weights=options.weights))
    engine = Engine(
        choose(loaded.model, loaded.context_length, is_exact=loaded.placement.is_exact), loaded.context_length
    )
    template = ChatTemplate(Vocabulary.load(folder))
    prompts = [
        template.prompt([Turn("user", f"{PROMPTS[n % len(PROMPTS)]} ({n})")]).ids for n in range(options.prompts)
    ]
    sampling = Sampling(temperature=0, top_p=1, top_k=0, repetition_penalty=1, max_new_tokens=options.tokens)
    together(loaded, prompts[:2], Sampling(temperature=0, max_new_tokens=4))
    ratios, speeds, same = [], [], 0
    for number in range(options.rounds):
        runs = {}
        for way in ("alone", "together") if number % 2 else ("together", "alone"):
            if way == "alone":
                runs[way] = timed(lambda: alone(loaded, engine, prompts, sampling))
            else:
                runs[way] = timed(lambda: together(loaded, prompts, sampling))
        ratios.append(runs["together"][1] / runs["alone"][1])
        speeds.append({way: {"tokens_per_s": run[1], "tokens_per_cpu_s": run[2]} for way, run in runs.items()})
        same = sum(a == b for a, b in zip(runs["alone"][0], runs["together"][0], strict=True))
    return {
        "weights": loaded.weights,
        "precision": str(loaded.placement.dtype).removeprefix("torch."),
        "prompts": len(prompts),
        "new_tokens": options.tokens,
        "same_answers": same,
        "together_over_alone": statistics.median(ratios),
        "rounds": speeds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report = {
        "what": "greedy answers to many prompts, together / one after the other, tokens per second",
        "threads": options.threads,
        "load_average": os.getloadavg()[0],
        "processor": platform.processor() or platform.machine(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    print(json.dumps(report | compare(options.folder, options), indent=2))


if __name__ == "__main__":
    main()
