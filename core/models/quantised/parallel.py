"""Work on many layers at once, in as many threads as torch uses, with its progress told from the caller's thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

import torch

Tell = Callable[[int, int], None]


def each(jobs: Sequence[Callable[[], None]], tell: Tell) -> None:
    """Run all jobs. What one of them or `tell` raises is raised when the jobs that run have ended; no other begins."""
    with ThreadPoolExecutor(max_workers=max(torch.get_num_threads(), 1)) as pool:
        running = [pool.submit(_quietly, job) for job in jobs]
        try:
            for done, finished in enumerate(as_completed(running)):
                finished.result()
                tell(done + 1, len(jobs))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _quietly(job: Callable[[], None]) -> None:
    with torch.no_grad():
        job()
