"""A detached worker that trains nothing: run as a program with the run directory.

`config(...)` writes what it shall do. Every 100 steps it saves a checkpoint, and a new start goes on from the last one.
A run that has a recipe gets the figures of a real one, and answers to its prompts.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from app.workers.detached_host import serve_run
from app.workers.host import JobControl
from core.errors import UserError
from core.protocol.messages import CheckpointSaved, Finished, JobEvent, Metrics, Train
from core.training.run_files import CONFIG, Answer, RunFiles


def argv(run_dir: Path) -> list[str]:
    return [sys.executable, str(Path(__file__).resolve()), str(run_dir)]


def config(run_dir: Path, *, steps: int = 1000, step_s: float = 0.002, mood: str = "good") -> Path:
    """Moods at step 50: raises, refuses, diverges, segfaults, freezes (holds the GIL); deaf ignores any cancel."""
    run_dir.mkdir(parents=True)
    (run_dir / "config.json").write_text(json.dumps({"steps": steps, "step_s": step_s, "mood": mood}))
    return run_dir


def misbehave(mood: str) -> None:
    match mood:
        case "raises":
            raise ValueError("no such column")
        case "refuses":
            raise UserError("disk_full", needed="3 GB", free="1 GB")
        case "diverges":
            raise UserError("training_diverged", step=50, loss="nan", best="1.2")
        case "segfaults":
            ctypes.string_at(0)
        case "freezes":
            ctypes.PyDLL(None).sleep(60)
        case _:
            pass


def figures(step: int) -> dict[str, float]:
    found = {"learning_rate": 2e-4, "tokens_per_s": 3400.0, "memory": 1.7e9 + step * 1e5, "seconds": 0.01}
    return found | ({"eval_loss": 1.1 / step} if step % 20 == 0 else {})


def save(run_dir: Path, step: int) -> None:
    part = run_dir / "checkpoint.part"
    part.write_text(str(step))
    part.replace(run_dir / "checkpoint")


def train(job: Train, control: JobControl) -> Iterator[JobEvent | None]:
    run_dir = Path(job.run_dir)
    wanted = json.loads((run_dir / "config.json").read_text())
    checkpoint = run_dir / "checkpoint"
    begun = int(checkpoint.read_text()) if checkpoint.exists() else 0
    print(f"training from step {begun + 1} in process {os.getpid()}", flush=True)
    run = RunFiles(run_dir)
    prompts = run.recipe.prompts if (run_dir / CONFIG).exists() else None
    for step in range(begun + 1, wanted["steps"] + 1):
        time.sleep(wanted["step_s"])
        if step == 50:
            misbehave(wanted["mood"])
        values = {"loss": 1 / step, "grad_norm": math.nan if step == 7 else 1.0}
        yield Metrics(job.job_id, step, values if prompts is None else values | figures(step))
        if step % 100 == 0:
            save(run_dir, step)
            for prompt in prompts or ():
                run.add_answer(Answer(step, prompt, f"I am the model of step {step}."))
            yield CheckpointSaved(job.job_id, step, str(run_dir))
        if control.is_cancelled and wanted["mood"] != "deaf":
            save(run_dir, step)
            yield Finished(job.job_id, "cancelled")
            return
        if control.is_paused:
            save(run_dir, step)
            yield Finished(job.job_id, "paused")
            return
    yield Finished(job.job_id, "stop")


if __name__ == "__main__":
    serve_run(sys.argv[1], train)
