"""The training worker: one fine-tune, in a process that belongs to the run's directory and not to any front.

Composes core.training into events. Invariant: torch is imported only after the process has left the front, since it
starts threads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from app.launch import worker_argv
from app.workers.detached_host import serve_run
from app.workers.host import JobControl
from core.protocol.messages import JobEvent, Progress, Train

SPIN_COUNT = "5000"  # as in the inference worker


def main(run_dir: str) -> None:
    """Be the worker of this run until it ends."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    serve_run(run_dir, train)


def train(job: Train, control: JobControl) -> Iterator[JobEvent | None]:
    yield Progress(job.job_id, 0, stage="loading_libraries")
    from core.training import ranks, session
    from core.training.run_files import RunFiles

    run = RunFiles(Path(job.run_dir))
    recipe = run.recipe
    if recipe.devices > 1 or recipe.parallel != "none":

        def command(address: str) -> list[str]:
            return [*worker_argv("training_rank"), str(run.path), address]

        yield from ranks.follow(job.job_id, recipe.devices, command, control)
    else:
        yield from session.train(job.job_id, run, control)
