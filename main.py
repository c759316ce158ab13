"""The entry: `qwen-workbench [command]`, and the one door of worker processes: `--worker NAME [arguments]`.

Imports neither Qt nor torch at module level, so every command and every worker pays only for itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

USAGE = 2


def work(name: str, arguments: Sequence[str]) -> int:
    """Be the worker `name`: `main(*arguments)` of app.workers.<name>_worker. Unknown names are refused."""
    import importlib.util

    module = f"app.workers.{name}_worker"
    if not name.isidentifier() or importlib.util.find_spec(module) is None:
        from core.translation import say

        print(say("error.worker_unknown", name=name), file=sys.stderr)
        return USAGE
    importlib.import_module(module).main(*arguments)
    return 0


def main() -> int:
    """Run the command line; the exit code is 0, 1 (the user's world), 2 (usage) or 70 (our bug)."""
    match sys.argv[1:]:
        case ["--worker", name, *arguments]:
            return work(name, arguments)
        case arguments:
            from app.cli.entry import run

            return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
