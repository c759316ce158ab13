"""One process of a run on several devices; its siblings and it are started by torch's launcher.

Invariant: whatever happens in the first one is told as an event, and every other one ends without a word in the log of
the run only.
"""

from __future__ import annotations

import os
from pathlib import Path

from app.workers.host import failure


def main(run_dir: str, address: str) -> None:
    """Be a rank of this run until it ends."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from core.training import session
    from core.training.ranks import RankLine
    from core.training.run_files import RunFiles

    line = RankLine(address)
    run = RunFiles(Path(run_dir))
    try:
        end = session.train_here(run.path.name, run, line, line.tell)
    except Exception as error:
        line.tell(failure(run.path.name, error))
        raise SystemExit(1) from error
    line.tell(end)
