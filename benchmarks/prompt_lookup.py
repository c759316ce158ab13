"""What guessing from the text gains: `PYTHONPATH=. python benchmarks/prompt_lookup.py FOLDER` prints one JSON object.

Greedy replies of the model in FOLDER to a question that asks for its own text back, and to two that do not, with
guesses and without, in turn. By question the medians' ratio, tokens a pass, and where the replies part, if they do: at
which token and how far apart the two best logits of single steps are there, in steps of the precision they come in.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from core.chat.chat_format import chat_format
from core.chat.turns import Sampling, Turn
from core.chat.vocabulary import Vocabulary
from core.inference.choice import choose
from core.inference.engine import Ended, Engine, NewToken
from core.load_options import LoadOptions
from core.models.load import load

CODE = """def read_rows(path):
    rows = []
    with open(path) as stream:
        for line in stream:
            name, value = line.split(',')
            rows.append((name, float(value)))
    return rows
"""
QUESTIONS = {
    "quotes": f"Repeat this code exactly, without any change:\n\n{CODE}",
    "tells": "What is the capital of France, and what can one see there?",
    "lists": "Write a list of ten animals with one fact each.",
}
CONTEXT = 2048


def reply(decoder: Any, ids: list[int], count: int) -> tuple[list[int], float, int]:
    """Its tokens, tokens a second after the first, and passes."""
    sampling = Sampling(temperature=0.0, top_p=1.0, top_k=0, repetition_penalty=1.0, max_new_tokens=count)
    said, times, passes = [], [], 1
    for step in Engine(decoder, CONTEXT).generate(ids, sampling):
        if isinstance(step, NewToken):
            said.append(step.id)
            times.append(time.perf_counter())
        elif isinstance(step, Ended):
            passes = step.passes
    return said, (len(times) - 1) / (times[-1] - times[0]), passes


def gap(decoder: Any, ids: list[int], said: list[int], other: int) -> float:
    """How far the last of `said` is ahead of `other`, by single steps, in steps of the logits' precision."""
    cache = decoder.new_cache(len(ids))
    for _ in decoder.read(ids, cache):
        pass
    for id in said[:-1]:
        logits = decoder.step(id, cache)
    best = float(logits[said[-1]])
    step = 2.0 ** math.floor(math.log2(abs(best))) * torch.finfo(logits.dtype).eps
    return (best - float(logits[other])) / step


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", default="int8")
    parser.add_argument("--tokens", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    loaded = load(options.folder, LoadOptions(weights=options.weights, context_length=CONTEXT))
    template = chat_format(options.folder, Vocabulary.load(options.folder))
    guessing, single = (choose(loaded.model, CONTEXT, is_exact=False) for _ in range(2))
    single.can_verify = lambda cache: False  # type: ignore[attr-defined]
    report: dict[str, Any] = {"weights": options.weights, "torch": torch.__version__}
    for name, question in QUESTIONS.items():
        ids = template.prompt([Turn("user", question)]).ids
        count = options.tokens
        pairs = [(reply(guessing, ids, count), reply(single, ids, count)) for _ in range(options.rounds)]
        (said, _, passes), (expected, _, _) = pairs[0]
        parts = next((at for at, (a, b) in enumerate(zip(said, expected, strict=False)) if a != b), None)
        with_guesses, without = (statistics.median(run[1] for run in side) for side in zip(*pairs, strict=True))
        report[name] = {
            "tokens_per_s": with_guesses, "single": without, "ratio": with_guesses / without,
            "tokens_a_pass": (len(said) - 1) / max(passes, 1), "parts_at": parts,
            "gap_steps": gap(single, ids, expected[: parts + 1], said[parts]) if parts else None,
        }  # fmt: skip
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
