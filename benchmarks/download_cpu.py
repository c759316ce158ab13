"""Processor time of our download of a repository against huggingface_hub's, checksums of all files included on both.

    python -m benchmarks.download_cpu [RUNS] [MB]

One JSON object. The same files from the same server process on loopback, in turns, after one pair that does not count.
Every run is a fresh process that starts its clock (its user and system time) after its imports. Theirs is
snapshot_download into an empty cache, then the SHA-256 of each file it wrote. Ours is fetch_all, which hashes while
bytes come, and puts them on the disk for certain, which theirs does not.
"""

from __future__ import annotations

import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.download_server import COMMIT, REPOSITORY, serving, sha256

SHARDS = 2
SMALL = {"config.json": 700, "tokenizer.json": 7_000_000, "README.md": 9_000}


def publish(folder: Path, megabytes: int) -> int:
    """The bytes of a repository with shards of random content."""
    chance = random.Random(1)
    block = chance.randbytes(1_000_000)
    for shard in range(SHARDS):
        with (folder / f"model-{shard + 1}-of-{SHARDS}.safetensors").open("wb") as out:
            for number in range(megabytes // SHARDS):
                out.write(number.to_bytes(8, "big") + block[8:])
    for name, size in SMALL.items():
        (folder / name).write_bytes(chance.randbytes(size))
    return sum(file.stat().st_size for file in folder.iterdir())


def ours(address: str, files: dict[str, tuple[int, str]], place: Path) -> dict[str, str]:
    from core.hub.fetching.download import Network, RemoteFile, fetch_all
    from core.models.steps import result

    wanted = [
        RemoteFile(f"{address}/{REPOSITORY}/resolve/{COMMIT}/{name}", name, digest, size)
        for name, (size, digest) in files.items()
    ]
    start_clock()
    return {record.name: record.sha256 for record in result(fetch_all(wanted, place / "model", Network()))}


def theirs(address: str, files: dict[str, tuple[int, str]], place: Path) -> dict[str, str]:
    os.environ |= {"HF_ENDPOINT": address, "HF_HOME": str(place), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    from huggingface_hub import snapshot_download

    start_clock()
    folder = Path(snapshot_download(REPOSITORY, endpoint=address, cache_dir=place / "cache"))
    return {name: sha256(folder / name) for name in files}


begun = (0.0, 0.0)


def seconds() -> tuple[float, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, time.monotonic()


def start_clock() -> None:
    global begun
    begun = seconds()


def child(who: str, address: str, folder: Path, place: Path) -> None:
    digests = json.loads((folder.parent / "digests.json").read_text())
    found = (ours if who == "ours" else theirs)(address, digests, place)
    end = seconds()
    assert found == {name: digest for name, (_, digest) in digests.items()}
    print(json.dumps({"cpu_s": end[0] - begun[0], "wall_s": end[1] - begun[1]}))


def run(who: str, address: str, folder: Path, size_bytes: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix=f"download-{who}-") as place:
        command = [sys.executable, "-m", "benchmarks.download_cpu", "--child", who, address, str(folder), place]
        done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {"cpu_s_per_gb": done["cpu_s"] / size_bytes * 1e9, "wall_s": done["wall_s"]}


def measure(runs: int, megabytes: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="download-cpu-") as place:
        folder = Path(place) / "published"
        folder.mkdir()
        size_bytes = publish(folder, megabytes)
        digests = {file.name: (file.stat().st_size, sha256(file)) for file in sorted(folder.iterdir())}
        (Path(place) / "digests.json").write_text(json.dumps(digests))
        found: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
        with serving(folder) as address:
            for number in range(runs + 1):
                for who in ("ours", "theirs") if number % 2 else ("theirs", "ours"):
                    os.sync()  # what earlier runs left to write is not theirs to pay
                    found[who].append(run(who, address, folder, size_bytes))
                    print(who, found[who][-1], file=sys.stderr)
        for rows in found.values():
            del rows[0]  # the first pays for memory that the system has not touched yet
    import huggingface_hub

    median = {
        who: {figure: round(statistics.median(row[figure] for row in rows), 3) for figure in rows[0]}
        for who, rows in found.items()
    }
    pairs = zip(found["ours"], found["theirs"], strict=True)
    ratios = [one["cpu_s_per_gb"] / other["cpu_s_per_gb"] for one, other in pairs]
    return {
        "what": "processor seconds per GB of a download with checksums, ours / huggingface_hub's snapshot_download",
        "must": "<= 1.0",
        "ratio_median": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "median": median,
        "bytes": size_bytes,
        "files": len(digests),
        "huggingface_hub": huggingface_hub.__version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
    }


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        who, address, folder, place = sys.argv[2:]
        child(who, address, Path(folder), Path(place))
        return
    runs, megabytes = (int(word) for word in [*sys.argv[1:], *["5", "2000"][len(sys.argv) - 1 :]])
    print(json.dumps(measure(runs, megabytes), indent=2))


if __name__ == "__main__":
    main()
