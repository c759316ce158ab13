"""The one door to the database: every access runs in one thread, each in one short transaction.

Invariant: what was handed to `call` is done, in order, even when the caller stops waiting for it. Imports SQLAlchemy in
that thread and not before the first call, so making a Store costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from core import paths

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.orm import Session as Session  # for those who write `work`

T = TypeVar("T")


class Store:
    """The database at `path`; made, upgraded or refused at the first call."""

    def __init__(self, path: Path | None = None, backups: Path | None = None) -> None:
        self._path = path or paths.database()
        self._backups = backups or paths.backups()
        self._thread = ThreadPoolExecutor(1, "store")
        self._engine: Engine | None = None

    async def call(self, work: Callable[[Session], T]) -> T:
        """What `work` returns; its changes are on disk by then. It must give out records, not rows.

        Raises:
            UserError: the disk is full, the file is damaged, from a newer version, held by another process ...
        """
        return await asyncio.shield(asyncio.wrap_future(self._submit(work)))

    def run(self, work: Callable[[Session], T]) -> T:
        """`call` for code without a loop: the command line and tests."""
        return self._submit(work).result()

    async def close(self) -> None:
        """Returns when everything handed over is written and the file is closed. A second close does nothing."""
        try:
            closing = self._thread.submit(self._dispose)
        except RuntimeError:  # already shut
            return
        await asyncio.shield(asyncio.wrap_future(closing))
        self._thread.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.submit(self._dispose).result()
        self._thread.shutdown()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def _submit(self, work: Callable[[Session], T]) -> Future[T]:
        return self._thread.submit(self._transact, work)

    # --- in the store's thread ---------------------------------------------------

    def _transact(self, work: Callable[[Session], T]) -> T:
        from sqlalchemy.orm import Session

        from core.store import engine, faults

        with faults.in_words(self._path):
            if self._engine is None:
                self._engine = engine.opened(self._path, self._backups)
            with Session(self._engine, expire_on_commit=False) as session, session.begin():
                return work(session)

    def _dispose(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
