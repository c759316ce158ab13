"""The entry: `qwen-workbench [command]`. Imports neither Qt nor torch, so every command pays only for itself."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; the exit code is 0, 1 (the user's world), 2 (usage) or 70 (our bug)."""
    from app.cli.entry import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
