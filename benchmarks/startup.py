"""Cold start to the painted window: `python benchmarks/startup.py [runs]` prints one JSON object.

Each run is a fresh process on a fresh home, offscreen; the time runs from before the process is made until its first
frame is out (reported by the process itself through a pipe). One run before the counted ones fills the file cache.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHILD = """
import sys
from app.ui import start

def painted(window):
    print("painted", flush=True)
    window.close()

sys.exit(start.open_window(painted))
"""


def once() -> float:
    """Seconds from spawn to first frame."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "QWEN_WORKBENCH_HOME": home}
        begin = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-c", CHILD], stdout=subprocess.PIPE, cwd=ROOT, env=environment
        ) as child:
            assert child.stdout is not None
            line = child.stdout.readline()
            seconds = time.perf_counter() - begin
            child.communicate()
    if line != b"painted\n" or child.returncode:
        raise SystemExit(f"the window did not paint (status {child.returncode})")
    return seconds


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    once()
    seconds = [once() for _ in range(runs)]
    figures = {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds)}
    print(json.dumps({"what": "cold start to painted window, s", "runs": runs, "must": 0.6} | figures))


if __name__ == "__main__":
    main()
