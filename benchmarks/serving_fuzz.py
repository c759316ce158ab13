"""Requests made of the server's OpenAPI document: `python -m benchmarks.serving_fuzz [--cases 5000]`.

A tiny random model answers; a status of 500 and above, or no answer at all, ends it with the request that did it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from tests.helpers import chat_templates, tiny_models
from tests.helpers.fuzzing import fuzz
from tests.helpers.server import Server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=5000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = tiny_models.write_model(Path(folder) / "tiny", template=chat_templates.THIRD)
        with Server(str(model), Path(folder)) as server:
            began = time.perf_counter()
            statuses = fuzz(server.address, options.cases)
            figures = {
                "cases": sum(statuses.values()),
                "statuses": {str(status): count for status, count in sorted(statuses.items())},
                "faults": sum(line["status"] >= 500 for line in server.ended()),
                "seconds": round(time.perf_counter() - began, 1),
            }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
