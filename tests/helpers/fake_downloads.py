"""A library worker whose downloads behave as their name says, without a network.

Run as a program it is the child; ARGV starts it from any working directory. Names: "quick…" is there at once,
"endless…" goes on for ever, "flood…" too and tells of it a thousand times a second, "full…" finds the disk full,
"offline…" cannot reach the hub twice and then is there, "dies…" kills itself once and then is there, "bug…" raises.
Beside the models it is counted how often each was tried.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":  # started by its path, like a real worker
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from app.workers.host import JobControl, serve
from core.errors import UserError
from core.models import manifest
from core.protocol.messages import (
    DownloadModel,
    FileProgress,
    Finished,
    JobEvent,
    ModelStored,
    Progress,
    PullModel,
)

ARGV = [sys.executable, str(Path(__file__).resolve())]
TOTAL = 1_000_000


def tries(models_folder: Path, name: str) -> int:
    """How often a download of this name was begun."""
    file = models_folder / f".tries-{name}"
    return len(file.read_text()) if file.exists() else 0


def download(job: DownloadModel | PullModel, control: JobControl) -> Iterator[JobEvent | None]:
    folder = Path(job.models_folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".tries-{job.name}").open("a") as count:
        count.write("x")
    kind, attempt = job.name.partition("-")[0], tries(folder, job.name)
    yield Progress(job.job_id, 0, None, "asking")
    yield _progress(job, TOTAL // 4)
    if kind == "full":
        raise UserError("disk_full", folder=str(folder), needed="9 GB", free="1 GB")
    if kind == "offline" and attempt <= 2:
        raise UserError("hub_unreachable", hub="Hugging Face", host="huggingface.co")
    if kind == "dies" and attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "bug":
        raise ValueError("a bug on purpose")
    done = TOTAL // 4
    while kind in ("endless", "flood") and not control.is_cancelled:
        done = min(done + 1000, TOTAL - 1)
        yield _progress(job, done)
        time.sleep(0.001 if kind == "flood" else 0.01)
    if control.is_cancelled:
        yield Finished(job.job_id, "cancelled")
        return
    yield _progress(job, TOTAL)
    yield ModelStored(job.job_id, str(_store(folder, job.name)))
    yield Finished(job.job_id)


def _progress(job: DownloadModel | PullModel, done: int) -> Progress:
    return Progress(
        job.job_id, done, TOTAL, "downloading", "bytes", files=(FileProgress("model.safetensors", done, TOTAL),)
    )


def _store(folder: Path, name: str) -> Path:
    place = folder / name
    place.mkdir()
    facts = manifest.Manifest(
        name=name, source="a test", architecture="Qwen3ForCausalLM", model_type="qwen3", weights="bfloat16",
        parameters=1, context_length=1024, files=(),
    )  # fmt: skip
    manifest.write(place, facts)
    return place


if __name__ == "__main__":
    serve({DownloadModel: download, PullModel: download})
