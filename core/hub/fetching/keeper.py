"""The thread of a download that reads again what came out of order, makes bytes durable and finishes files.

Invariant: it is the only one that waits for the disk, so a slow one holds up neither the network nor a cancel. Left
behind by a cancel while the system writes, it ends by itself and changes nothing that a next download relies on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from core.hub.fetching.halt import Halt, Halted
from core.hub.fetching.part import Part
from core.hub.fetching.transfer import Transfer

SYNC_S = 5.0  # what a loss of power costs at most
BUFFER_BYTES = 1024 * 1024
LEFT_BEHIND_S = 0.15


class Keeper:
    """changed: called when a file is finished or begins anew; failed: with what stopped this thread."""

    def __init__(
        self,
        transfers: Sequence[Transfer],
        halt: Halt,
        door: threading.Lock,
        changed: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._transfers = transfers
        self._halt = halt
        self._door = door
        self._changed = changed
        self._failed = failed
        self._wake = threading.Event()
        self._lanes_are_gone = threading.Event()
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._sync_due = time.monotonic() + SYNC_S
        self._thread = threading.Thread(target=self._keep, name="download-keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def look(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def end(self) -> None:
        """Called after the halt, when nobody writes any more."""
        self._lanes_are_gone.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(LEFT_BEHIND_S)

    def _keep(self) -> None:
        try:
            while not self._halt.is_set:
                self._wake.clear()
                if not self._work():
                    self._wake.wait(max(0.0, self._sync_due - time.monotonic()))
        except Halted:
            pass
        except BaseException as error:
            self._failed(error)
        finally:
            self._lanes_are_gone.wait()
            self._leave()

    def _work(self) -> bool:
        """Whether there was any."""
        worked = False
        for transfer in self._transfers:
            if transfer.record is None:
                worked |= self._work_on(transfer)
        if time.monotonic() >= self._sync_due:
            for transfer in self._transfers:
                self._sync(transfer.part)
            self._sync_due = time.monotonic() + SYNC_S
        return worked

    def _work_on(self, transfer: Transfer) -> bool:
        part = transfer.part
        if part.front.catch_up(part.at_front, self._buffer):
            return True
        if not transfer.is_ready:
            return False
        transfer.settle(self._commit)
        self._changed()
        return True

    def _commit(self, step: Callable[[], None]) -> None:
        with self._door:
            self._halt.check()
            step()

    def _sync(self, part: Part) -> None:
        if not part.is_synced:
            with suppress(FileNotFoundError):  # thrown away meanwhile
                part.sync()

    def _leave(self) -> None:
        for transfer in self._transfers:
            with suppress(OSError):  # the download is over; what could not be made durable comes again
                self._sync(transfer.part)
            transfer.part.close()
