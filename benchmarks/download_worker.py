"""The library worker as the download benchmarks need it: its PullModel fetches the files that a JSON listing names.

Everything between the pipe and the disk is the program's own; only where the addresses come from is not.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.workers.host import JobControl, serve
from app.workers.library_worker import Events, _told
from core.protocol.messages import Finished, PullModel

ARGV = [sys.executable, str(Path(__file__).resolve())]


def listing(file: Path, files: list[tuple[str, str, str, int]], **network: float) -> PullModel:
    """The job that fetches `files` (address, name, SHA-256, size) into the folder beside the listing."""
    file.write_text(json.dumps({"files": files, "network": network}))
    return PullModel("d", str(file), str(file.with_suffix("")))


def fetch_listed(job: PullModel, control: JobControl) -> Events:
    from core.hub.fetching.download import Network, RemoteFile, fetch_all

    told = json.loads(Path(job.name).read_text())
    files = [RemoteFile(url, name, sha256, size) for url, name, sha256, size in told["files"]]
    work = fetch_all(files, Path(job.models_folder), replace(Network(), **told["network"]))
    yield from _told(job, control, work)
    yield Finished(job.job_id)


if __name__ == "__main__":
    serve({PullModel: fetch_listed})
