"""The threads of a download: a few that fetch, each over connections of its own, and the keeper.

Invariant: after `close` no byte is written and no file gets its name; a thread waits only for the network (cut by the
halt), for work (woken by it) or for the disk.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from core.errors import UserError
from core.hub.fetching.halt import Halt, Halted
from core.hub.fetching.keeper import Keeper
from core.hub.fetching.line import Line, Trouble
from core.hub.fetching.patience import Again, Patience
from core.hub.fetching.remote import Network
from core.hub.fetching.route import Routes
from core.hub.fetching.transfer import Claim, Transfer
from core.models.space import need_reserve

CHUNK_BYTES = 512 * 1024  # what a kill can cost each connection
LOOK_AT_DISK_BYTES = 16 * 1024 * 1024


class Crew:
    """
    Attributes:
        received: bytes that have come in all, those thrown away again included
    """

    def __init__(self, transfers: Sequence[Transfer], folder: Path, network: Network) -> None:
        self.received = 0
        self._transfers = transfers
        self._folder = folder
        self._network = network
        self._halt = Halt()
        self._routes = Routes(network, self._halt)
        self._work = threading.Condition()
        self._door = threading.Lock()
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._keeper = Keeper(transfers, self._halt, self._door, self._changed, self._fail)
        self._lanes: list[threading.Thread] = []

    def start(self) -> None:
        self._keeper.start()
        for number in range(self._network.connections):
            lane = threading.Thread(target=self._lane, name=f"download-{number}", daemon=True)
            self._lanes.append(lane)
            lane.start()
        self._changed()  # without any files it is over already

    def wait(self, seconds: float) -> bool:
        """Whether all files are in their places.

        Raises:
            UserError: why they cannot be.
        """
        if not self._over.wait(seconds):
            return False
        if self._error is not None:
            raise self._error
        return True

    def close(self) -> None:
        with self._door:
            self._halt.now()
        self._changed()
        for lane in self._lanes:
            lane.join()
        self._keeper.end()

    # --- in the threads ---------------------------------------------------------------

    def _changed(self) -> None:
        with self._work:
            if all(transfer.record is not None for transfer in self._transfers):
                self._over.set()
            self._work.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._work:
            self._error = self._error or error
        self._halt.now()
        self._over.set()
        self._changed()

    def _lane(self) -> None:
        line = Line(self._routes, self._halt)
        patience, buffer = Patience(self._network), memoryview(bytearray(CHUNK_BYTES))
        try:
            while (claim := self._next()) is not None:
                self._fetch(claim, line, patience, buffer)
        except Halted:
            pass
        except BaseException as error:
            self._fail(error)
        finally:
            line.close()

    def _next(self) -> Claim | None:
        """Waits for a piece to fetch; None when there will be no more."""
        with self._work:
            while not (self._halt.is_set or self._over.is_set()):
                # A file that nobody fetches comes first: its bytes then come in order, and need not be read again.
                for transfer in sorted(self._transfers, key=lambda transfer: transfer.connections):
                    if transfer.record is None and (claim := transfer.claim()):
                        return claim
                self._work.wait()
        return None

    def _fetch(self, claim: Claim, line: Line, patience: Patience, buffer: memoryview) -> None:
        """After a failure the claim is kept while we rest: another connection would only meet the same trouble."""
        gained = 0

        def count(new: int) -> None:
            nonlocal gained
            if not gained:
                self._changed()  # where a new file lies is known now, so others may join
            gained += new
            self._count(new)

        try:
            claim.transfer.fetch(claim, line, buffer, count)
            patience.worked()
        except (Again, Trouble) as trouble:
            self._halt.check()
            self._rest(claim, patience, trouble, gained)
        finally:
            claim.transfer.release(claim)
            self._changed()
            self._keeper.look()

    def _count(self, new: int) -> None:
        with self._work:
            before, self.received = self.received, self.received + new
        if before // LOOK_AT_DISK_BYTES != self.received // LOOK_AT_DISK_BYTES:
            need_reserve(self._folder, sum(transfer.left_bytes for transfer in self._transfers))
        self._keeper.look()
        self._halt.check()

    def _rest(self, claim: Claim, patience: Patience, trouble: Again | Trouble, gained: int) -> None:
        seconds = patience.rest_s(gained, self.received)
        if seconds is None:
            remote = claim.transfer.remote
            interrupted = UserError("download_interrupted", host=remote.host, file=remote.name)
            raise (trouble.error if isinstance(trouble, Again) else None) or interrupted
        self._halt.rest(seconds)
