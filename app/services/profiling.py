"""Profiles: a table of cells measured one after the other, each in a fresh worker process, kept in the store.

Invariant: at most one table is measured at a time; a cell that crashes or runs out of memory is a result like any
other and the table goes on; and what is measured is in the store before anybody is told of it. No torch, no Qt.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from app.services.events import Event
from app.services.library import LibraryService
from app.services.profiling_news import News
from core.profiling.plan import Cell, ProfilePlan, Subject
from core.profiling.result import CellResult, Estimate, MachineProbe
from core.profiling.timeline import MemoryTimeline
from core.protocol.messages import Progress
from core.store.records import ProfileRun
from core.store.store import Store

Format = Literal["csv", "markdown"]
EMPTY = MemoryTimeline()


@dataclass(frozen=True, slots=True)
class ProfilingState:
    """What a page that has just been built shows of the table under way; `run` is None where there is none.

    index: of the cell that is measured now, -1 between two; timeline: of this cell so far. results: by Cell.key
    """

    run: ProfileRun | None = None
    cells: tuple[Cell, ...] = ()
    results: dict[str, CellResult] = field(default_factory=dict)
    index: int = -1
    progress: Progress | None = None
    timeline: MemoryTimeline = EMPTY
    left_s: float | None = None
    is_probing: bool = False


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A cell before it is run. obstacle: why it will not be, as a sentence; "" for one that will."""

    cell: Cell
    estimate: Estimate | None
    free_bytes: int
    obstacle: str = ""


class ProfilingService:
    """
    Attributes:
        state: ProfilingState
        changed: emitted with the new state
        news: emitted with each of the News that start() and resume() yield, for who did not start the table
    """

    def __init__(self, the_store: Store, library: LibraryService, *, argv: Sequence[str] | None = None) -> None:
        self.state = ProfilingState()
        self.changed: Event[ProfilingState] = Event()
        self.news: Event[News] = Event()

    # --- before ------------------------------------------------------------------

    def subject(self, model: str) -> Subject:
        """A model of the library (or a folder) to be measured.

        Raises:
            UserError: as LibraryService.files_of; profile_adapter.
        """
        raise NotImplementedError

    async def foresee(self, plan: ProfilePlan) -> list[Foreseen]:
        """What each cell would take, and which of them will not be run. Files are read in a thread."""
        raise NotImplementedError

    # --- measuring ---------------------------------------------------------------

    def start(self, plan: ProfilePlan) -> AsyncGenerator[News, None]:
        """Measure a table; ends with TableEnded. Leaving the loop early cancels it.

        Raises:
            UserError: profile_busy, profile_empty.
        """
        raise NotImplementedError

    def resume(self, run_id: int) -> AsyncGenerator[News, None]:
        """Go on with a table that is not done: cells that have a result stay as they are.

        Raises:
            UserError: profile_busy, profile_gone, profile_done, profile_elsewhere (another front is at it).
        """
        raise NotImplementedError

    def cancel(self) -> None:
        """End the table; the cell under way is given up and can be resumed. At once, also amid a long step."""
        raise NotImplementedError

    def skip(self) -> None:
        """Give up the cell under way only; its result says that it was skipped."""
        raise NotImplementedError

    async def take_snapshot(self, file: Path) -> Path:
        """What PyTorch's allocator of the cell under way holds now, in `file`, for pytorch.org/memory_viz.

        Raises:
            UserError: profile_idle, snapshot_needs_card.
        """
        raise NotImplementedError

    async def probe(self, *, anew: bool = False) -> MachineProbe:
        """The limits of this machine: measured the first time, or `anew`, and kept.

        Raises:
            UserError: profile_busy, and what became of the worker.
        """
        raise NotImplementedError

    def known_probe(self) -> MachineProbe | None:
        """What is kept of the last probe, if it was of this machine."""
        raise NotImplementedError

    # --- what was measured -----------------------------------------------------------

    async def runs(self, limit: int = 100) -> list[ProfileRun]:
        """Newest first."""
        raise NotImplementedError

    async def run(self, run_id: int) -> tuple[ProfileRun, list[CellResult]]:
        """A table and the results it has, in the order of its cells; timelines are left out, see timeline().

        Raises:
            UserError: profile_gone.
        """
        raise NotImplementedError

    async def timeline(self, run_id: int, key: str) -> MemoryTimeline:
        """Of one cell, by Cell.key; empty where there is none."""
        raise NotImplementedError

    async def rename(self, run_id: int, name: str) -> ProfileRun:
        raise NotImplementedError

    async def delete(self, run_id: int) -> None:
        """The run and what was kept with it. An unknown id is no error.

        Raises:
            UserError: profile_busy, when it is under way.
        """
        raise NotImplementedError

    async def export(self, run_id: int, form: Format, file: Path | None = None) -> str:
        """The table as text, written to `file` too if one is named (as a whole, in place of what was there).

        Raises:
            UserError: profile_gone, profile_not_written.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """A table under way ends as after cancel()."""
        raise NotImplementedError
