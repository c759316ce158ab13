"""Downloads under random faults: `python -m benchmarks.download_faults [DOWNLOADS] [SEED]`; one JSON object.

Each download is a repository of one to four files with up to 9 MB in pieces of 1 MB, from a server on loopback that
cuts, stalls, refuses or slows every second answer at random. A worker process fetches it and is killed with SIGKILL at
a random point, up to three times; a new one goes on. Nothing is done between: no file is looked at, moved or removed.

`asked_again`: bytes of requests that the marks on the disk said had come when the worker was killed. `sent_twice`:
bytes the server sent beyond what the files hold, those included that were on their way when a connection was cut.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.supervisor import WorkerSupervisor
from benchmarks.download_worker import ARGV, listing
from core.hub.fetching.marks import Marks
from core.protocol.messages import Failed, Finished, Progress, PullModel
from tests.helpers.file_server import FileServer

PIECE = 1_000_000
MOST_BYTES, MOST_FILES, MOST_KILLS = 9_000_000, 4, 3
NETWORK = {"stall_s": 0.3, "backoff_s": 0.02, "backoff_most_s": 0.2, "attempts": 30, "piece_bytes": PIECE}


@dataclass
class Count:
    exact: int = 0
    failed: list[str] = field(default_factory=list)
    kills: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    restarts_at_0: int = 0
    asked_again: int = 0
    sent_twice: int = 0
    size_bytes: int = 0


def turns(chance: random.Random, count: Count) -> str:
    fault = chance.choice(("ok",) * 5 + ("cut", "cut", "stall", "slow", "status"))
    count.faults[fault] += 1
    number = {"cut": PIECE, "stall": PIECE, "slow": 20_000_000}.get(fault, 0)
    if fault == "status":
        return f"status:{chance.choice((429, 500, 502, 503, 504))}"
    return f"{fault}:{chance.randrange(number // 2, number)}" if number else fault


def marks(folder: Path, name: str) -> list[int]:
    """What is there of each piece, as a new worker would read it; nothing for a file that is whole or not begun."""
    try:
        note = json.loads((folder / f"{name}.part.json").read_bytes())
    except FileNotFoundError:
        return []
    pieces = -(-note["size_bytes"] // note["piece_bytes"])
    return Marks(folder / f"{name}.part.marks", pieces).read(after_reboot=False) or []


def account(server: FileServer, asked: int, kept: dict[str, list[int]], count: Count) -> None:
    for request in server.requests[asked:]:
        pieces = kept.get(request.path.removeprefix("/"), [])
        piece = request.start // PIECE
        had = pieces[piece] if piece < len(pieces) else 0
        again = max(0, piece * PIECE + had - request.start)
        count.asked_again += again
        count.restarts_at_0 += bool(again and request.start == 0)


async def run_once(job: PullModel, kill_at: int | None, count: Count) -> bool:
    """Whether the download has come to its end."""
    async with WorkerSupervisor("library", ARGV) as worker:
        async for event in worker.run(job):
            if isinstance(event, Progress) and kill_at is not None and event.done >= kill_at:
                worker.kill()
                count.kills += 1
            elif isinstance(event, Failed) and event.kind != "died":
                raise RuntimeError(f"{event.code} {event.params} {event.detail}")
            elif isinstance(event, Finished):
                return True
    return False


async def download(place: Path, chance: random.Random, count: Count) -> None:
    bodies = {f"/{n}.bin": chance.randbytes(chance.randrange(MOST_BYTES)) for n in range(chance.randint(1, MOST_FILES))}
    size = sum(map(len, bodies.values()))
    folder = place / "wanted"
    with FileServer(bodies, turn=lambda: turns(chance, count)) as server:
        wanted = [
            (f"{server.address}{path}", path[1:], hashlib.sha256(body).hexdigest(), len(body))
            for path, body in bodies.items()
        ]
        job = listing(place / "wanted.json", wanted, **NETWORK)
        kills = [chance.randrange(size) for _ in range(chance.randint(0, MOST_KILLS))]
        kept: dict[str, list[int]] = {}
        for kill_at in (*sorted(kills), None):
            asked = len(server.requests)
            is_over = await run_once(job, kill_at, count)
            account(server, asked, kept, count)
            kept = {path[1:]: marks(folder, path[1:]) for path in bodies}
            if is_over:
                break
        found = {f"/{file.name}": file.read_bytes() for file in folder.iterdir()}
        count.exact += found == bodies
        count.failed += [path for path in found.keys() | bodies.keys() if found.get(path) != bodies.get(path)]
        count.sent_twice += server.sent - size
        count.size_bytes += size


async def measure(downloads: int, seed: int) -> dict[str, Any]:
    chance, count, begun = random.Random(seed), Count(), time.monotonic()
    for number in range(downloads):
        with tempfile.TemporaryDirectory(prefix="download-faults-") as place:
            try:
                await download(Path(place), chance, count)
            except RuntimeError as error:
                count.failed.append(str(error)[:300])
        print(number + 1, count.exact, file=sys.stderr)
    return {
        "what": "downloads with random cuts, stalls, refusals and SIGKILL of the worker",
        "must": "every one byte-exact without a manual step, no restart at 0",
        "downloads": downloads,
        "exact": count.exact,
        "failed": count.failed,
        "kills": count.kills,
        "answers": dict(count.faults),
        "restarts_at_0": count.restarts_at_0,
        "asked_again_bytes": count.asked_again,
        "sent_twice_bytes": count.sent_twice,
        "bytes": count.size_bytes,
        "seconds": round(time.monotonic() - begun, 1),
        "seed": seed,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }


def main() -> None:
    words = [*sys.argv[1:], *["200", "1"][len(sys.argv) - 1 :]]
    print(json.dumps(asyncio.run(measure(int(words[0]), int(words[1]))), indent=2))


if __name__ == "__main__":
    main()
