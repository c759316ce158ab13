"""kill -9 of a streaming front process, many times; prints JSON and fails on the first broken promise.

    python benchmarks/kill_streaming.py [KILLS] [SEED]

Each round streams two replies at 100 words a second from a real worker process, kills the front at a random moment,
checks the database (integrity, nothing older than 1 s lost, replies marked) and continues both replies.
"""

from __future__ import annotations

import asyncio
import json
import platform
import random
import sqlite3
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.helpers.killed_front import MAY_LOSE_S, Round, round_of


async def rounds(kills: int, seed: int) -> list[Round]:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="qwen-workbench-kill-") as folder:
        return [await round_of(Path(folder), chance) for _ in range(kills)]


def main() -> None:
    kills, seed = (
        (int(word) for word in [*sys.argv[1:], "100", "1"][:2]) if len(sys.argv) < 3 else map(int, sys.argv[1:3])
    )
    done = asyncio.run(rounds(kills, seed))
    losses = [one.oldest_lost_s for one in done]
    figures = {
        "what": "front process killed with SIGKILL while two replies stream at 100 words/s",
        "kills": len(done),
        "seed": seed,
        "words_received": sum(one.received for one in done),
        "words_lost": sum(one.lost for one in done),
        "oldest_lost_s": {"median": round(statistics.median(losses), 3), "max": round(max(losses), 3)},
        "may_lose_s": MAY_LOSE_S,
        "integrity_check": "ok in every round",
        "continued": 2 * len(done),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
