"""The memory estimate that the wizard shows against what a fresh training process really takes, cell by cell.

python -m benchmarks.training_memory [--shapes ...] [--methods ...] [--tokens ...] [--folder DIR] [--threads N]
python -m benchmarks.training_memory --against benchmarks/results/training_memory.json: today's estimates

Each cell is a process of its own that runs core.training.session for two steps of one pass, rows of ROW tokens, half of
each learned. Models and what is measured are those of benchmarks.footprint: the peak of the process's own memory.
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

from benchmarks import footprint
from benchmarks.footprint import MB, Phases
from core.models.shape import read_shape
from core.models.training_footprint import estimate_training
from core.training.pass_size import PassSize, step_of
from core.training.recipe import Recipe

ROW = 256
PARTS = ("weights", "adapter", "gradients", "optimiser", "activations", "overhead")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", default="tiny,starter,0.1B,v1,0.3B")
    parser.add_argument("--methods", default="lora,qlora,full")
    parser.add_argument("--tokens", default="256,1024")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "footprint-models")
    parser.add_argument("--against", type=Path)
    parser.add_argument("--child", nargs=3, metavar=("FOLDER", "TOKENS", "RECIPE"))
    options = parser.parse_args()
    if options.child:
        child(Path(options.child[0]), int(options.child[1]), json.loads(options.child[2]), options.threads)
    elif options.against:
        cells = json.loads(options.against.read_text("utf-8"))["cells"]
        print(json.dumps(summary([judged(options.folder / cell["shape"], cell) for cell in cells], options), indent=2))
    else:
        print(json.dumps(summary(measured(options), options), indent=2))


def measured(options: argparse.Namespace) -> list[dict[str, Any]]:
    cells = []
    for shape in options.shapes.split(","):
        folder = options.folder / shape
        if not (folder / "model.safetensors").exists():
            footprint.run("--make", shape, "--folder", str(options.folder), threads=options.threads)
        for method in options.methods.split(","):
            for tokens in map(int, options.tokens.split(",")):
                for checkpointing in ("off", "on"):
                    cell = {"shape": shape, "method": method, "tokens": tokens, "checkpointing": checkpointing}
                    cells.append(judged(folder, cell | real(folder, cell, options.threads)))
                    print(json.dumps(cells[-1]), file=sys.stderr, flush=True)
    return cells


def real(folder: Path, cell: dict[str, Any], threads: int) -> dict[str, Any]:
    changes = json.dumps({"method": cell["method"], "checkpointing": cell["checkpointing"]})
    command = [sys.executable, "-m", "benchmarks.training_memory", "--child", str(folder), str(cell["tokens"]), changes]
    ended = subprocess.run([*command, "--threads", str(threads)], capture_output=True, text=True, timeout=3600)
    if ended.returncode:
        return {"failed": ended.stderr.strip().splitlines()[-1:]}
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def judged(folder: Path, cell: dict[str, Any]) -> dict[str, Any]:
    if "measured_mb" not in cell:
        return cell
    wanted = recipe({"method": cell["method"], "checkpointing": cell["checkpointing"]}, cell["tokens"])
    half = cell["precision"] != "float32"
    wanted = Recipe(**{**asdict(wanted), "precision": "auto" if half else "float32"})
    passes = PassSize(cell["tokens"], cell["checkpointing"] == "on")
    need = estimate_training(read_shape(folder), step_of(wanted, passes))
    error = 100 * (need.total / MB - cell["measured_mb"]) / cell["measured_mb"]
    parts = {name: round(getattr(need, name) / MB, 1) for name in PARTS}
    return cell | {"estimate_mb": round(need.total / MB, 1), "error_percent": round(error, 2), "parts_mb": parts}


def asdict(wanted: Recipe) -> dict[str, Any]:
    return {name: getattr(wanted, name) for name in Recipe.__struct_fields__}


def recipe(changes: dict[str, Any], tokens: int) -> Recipe:
    return Recipe(**{"model": "m", "data": "-", "steps": 2, "batch": tokens // ROW, "pass_tokens": tokens,
                     "validation_share": 0.0, "save_every": 100, **changes})  # fmt: skip


def summary(cells: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    errors = [cell["error_percent"] for cell in cells if "error_percent" in cell]
    return {
        "what": "memory of a fine-tune: estimated against measured peak of a fresh process's own memory, CPU",
        "must": "median of |error| <= 3 %, largest <= 8 %, never more than 3 % under",
        "median_percent": statistics.median(map(abs, errors)) if errors else None,
        "largest_percent": max(map(abs, errors), default=None),
        "most_under_percent": min(errors, default=None),
        "cells_measured": len(errors),
        "threads": options.threads,
        "processor": platform.processor() or platform.machine(),
        "cells": cells,
    }


def child(folder: Path, tokens: int, changes: dict[str, Any], threads: int) -> None:
    clock = Phases(folder)
    clock.end("start")
    import torch

    torch.set_num_threads(threads)
    from core.chat.chat_format import chat_format
    from core.protocol.messages import Finished, Metrics
    from core.training import run_files, session
    from core.training.passes import Row
    from core.training.run_data import RunData

    clock.end("libraries")

    def rows(*args: Any) -> RunData:
        chance, vocabulary = random.Random(0), args[2]
        ids = [[chance.randrange(vocabulary.size - 10) for _ in range(ROW)] for _ in range(4 * tokens // ROW)]
        found = [Row(one, [at >= ROW // 2 for at in range(ROW)]) for one in ids]
        return RunData(found, [], 0, 0, chat_format(folder, vocabulary), (), "")

    session.read_data = rows
    plain = session.prepare

    def prepare(*args: Any) -> Any:
        found = plain(*args)
        clock.end("load")
        return found

    session.prepare = prepare

    class Wish:
        is_paused = is_cancelled = False

    precision = ""
    with tempfile.TemporaryDirectory() as place:
        run = run_files.create(Path(place), recipe(changes, tokens), folder, "m")
        for event in session.train("job", run, Wish()):
            if isinstance(event, Metrics):
                clock.end(f"step {event.step}")
                precision = run.facts.precision if run.facts else ""
            if isinstance(event, Finished):
                clock.end("result")
    phases = {name: [round(value / MB, 1) for value in pair] for name, pair in clock.phases.items()}
    print(json.dumps({"measured_mb": round(clock.peak() / MB, 1), "precision": precision, "phases_mb": phases}))


if __name__ == "__main__":
    main()
