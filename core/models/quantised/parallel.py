"""Work on many layers at once, in as many threads as torch uses, with its progress told from the caller's thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

import torch

Tell = Callable[[int, int], None]


def each(jobs: Sequence[Callable[[], None]], tell: Tell) -> None:
    """Run all jobs. What one of them or `tell` raises is raised when the jobs that run have ended; no other begins."""
    threads = max(torch.get_num_threads(), 1)
    # One thread of torch's in each of ours: several teams of them would only wait for each other.
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            running = [pool.submit(_quietly, job) for job in jobs]
            try:
                for done, finished in enumerate(as_completed(running), 1):
                    finished.result()
                    tell(done, len(jobs))
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(threads)


def _quietly(job: Callable[[], None]) -> None:
    with torch.no_grad():
        job()
