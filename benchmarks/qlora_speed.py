"""What Q-LoRA costs beside LoRA: `python -m benchmarks.qlora_speed FOLDER [steps [rounds]]` prints one JSON object.

Seconds of a step of our trainer on the model in FOLDER with plain, NF4 and our Int4 weights, on packed rows of 256 and
of 1024 tokens, in turn, several rounds; the first step of each is left out.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
from pathlib import Path

import torch

from benchmarks.lora_speed import ours
from core.training.passes import Row
from core.training.recipe import Recipe

MUST = {256: 1.35, 1024: 1.20}
PASS, ROUNDS = 2048, 3
WAYS = {
    "lora": Recipe(model="m", data="-", pass_tokens=PASS),
    "qlora_nf4": Recipe(model="m", data="-", pass_tokens=PASS, method="qlora"),
    "qlora_int4": Recipe(model="m", data="-", pass_tokens=PASS, method="qlora", weights="int4"),
}


def main() -> None:
    folder, *counts = sys.argv[1:]
    steps, rounds = [*map(int, counts), *(3, ROUNDS)[len(counts) :]]
    found = []
    for length in MUST:
        chance, count = random.Random(3), PASS // length
        rows = [
            Row([chance.randrange(40_000) for _ in range(length)], [at >= length // 2 for at in range(length)])
            for _ in range(count * steps)
        ]
        runs = {way: ours(Path(folder), recipe, rows, steps, count)[0] for way, recipe in WAYS.items()}
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way, run in runs.items():
                seconds[way] += run()[1:]
        medians = {way: statistics.median(times) for way, times in seconds.items()}
        ratios = {way: medians[way] / medians["lora"] for way in WAYS}
        found.append({"row_tokens": length, "seconds": medians, "to_lora": ratios, "must": MUST[length]})
    print(json.dumps({
        "what": f"step of Q-LoRA against LoRA, packed passes of {PASS} tokens", "rows": found,
        "threads": torch.get_num_threads(), "load_average": os.getloadavg()[0], "torch": torch.__version__,
    }, indent=2))  # fmt: skip


if __name__ == "__main__":
    main()
