"""The memory of the library worker while it downloads one large file: `python -m benchmarks.download_memory [MB]`.

One JSON object. The file is sparse and comes from a server process on loopback, in pieces over four connections, as
fast as the machine can. USS is sampled every 20 ms; the kernel's own highest resident size, which counts what the
process shares with others too, is the bound that no sample can miss.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from app.supervisor import WorkerSupervisor
from benchmarks.download_server import COMMIT, REPOSITORY, serving, sha256
from benchmarks.download_worker import ARGV, listing
from core.protocol.messages import Failed

SAMPLE_S = 0.02
MB = 1_000_000


async def sampled(process: psutil.Process, samples: list[int]) -> None:
    while True:
        samples.append(process.memory_full_info().uss)
        await asyncio.sleep(SAMPLE_S)


def highest_resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


async def measure(megabytes: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="download-memory-") as place:
        published = Path(place) / "published"
        published.mkdir()
        file = published / "model.safetensors"
        with file.open("wb") as sparse:
            sparse.truncate(megabytes * MB)
        with serving(published) as address:
            url = f"{address}/{REPOSITORY}/resolve/{COMMIT}/{file.name}"
            job = listing(Path(place) / "wanted.json", [(url, file.name, sha256(file), megabytes * MB)])
            async with WorkerSupervisor("library", ARGV) as worker:
                process = psutil.Process(next(c.pid for c in psutil.Process().children() if ARGV[1] in c.cmdline()))
                idle, samples, begun = process.memory_full_info().uss, [], time.monotonic()
                sampling = asyncio.create_task(sampled(process, samples))
                async for event in worker.run(job):
                    assert not isinstance(event, Failed), event
                seconds = time.monotonic() - begun
                sampling.cancel()
                highest = highest_resident(process.pid)
        assert (Path(place) / "wanted" / file.name).stat().st_size == megabytes * MB
    return {
        "what": f"memory of the library worker while it downloads one file of {megabytes} MB",
        "must": "<= 200 MB (USS)",
        "peak_uss_mb": round(max(samples) / MB, 1),
        "highest_resident_mb": round(highest / MB, 1),
        "idle_uss_mb": round(idle / MB, 1),
        "samples": len(samples),
        "seconds": round(seconds, 2),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
    }


def main() -> None:
    print(json.dumps(asyncio.run(measure(int([*sys.argv[1:], "4000"][0]))), indent=2))


if __name__ == "__main__":
    main()
