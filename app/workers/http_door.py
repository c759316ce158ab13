"""The HTTP door of the inference worker: uvicorn on a loop of its own, in a thread beside the one that steps the jobs.

Owns the socket and the thread. Invariant: the door's job ends when the thread has, and not before.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from app.workers.keeper_line import KeeperLine
from core.protocol.messages import JobEvent
from core.protocol.serving import DoorOpened, OpenDoor
from core.serving.listening import bound

if TYPE_CHECKING:
    import uvicorn

    from app.workers.http_routes import Worker
    from app.workers.outside import Requests

GRACE_S = 2  # for answers on their way, once they were told to end


class HttpDoor:
    """
    Attributes:
        failure: why it could not serve
    """

    def __init__(self, job: OpenDoor, worker: Worker, wake: Callable[[], None]) -> None:
        """
        Raises:
            UserError: port_taken, port_forbidden, host_unknown.
        """
        self._job, self._worker, self._wake = job, worker, wake
        self._keeper = KeeperLine(job.keeper)
        self._socket = self._keeper.listener or bound(job.host, job.port)
        self._news: deque[JobEvent] = deque()
        self._server: uvicorn.Server | None = None
        self._requests: Requests | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="http door", daemon=True)
        self.failure: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """From any thread; at once for requests that are under way, which are told."""
        self._is_stopping = True
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._stop)

    @property
    def is_open(self) -> bool:
        return self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """For its end, and no longer than that."""
        self._thread.join(seconds)

    def news(self) -> Iterator[JobEvent]:
        """What has happened since the last time."""
        while self._news:
            yield self._news.popleft()

    # --- the thread --------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self.failure = error
        finally:
            self._socket.close()
            self._keeper.close()
            self._wake()

    async def _serve(self) -> None:
        import uvicorn

        from app.workers.http_guard import Guard
        from app.workers.http_routes import HEALTH, application, told_refusals
        from app.workers.outside import Requests
        from app.workers.web_files import WebFiles

        job = self._job
        self._loop = asyncio.get_running_loop()
        self._requests = Requests(job.job_id, job.most_waiting, self._tell)
        files = WebFiles()
        app = application(job, self._worker, self._requests, self._keeper, files)
        guarded = Guard(
            app,
            key_hashes=job.key_hashes,
            origins=job.origins,
            names=job.names,
            most=job.most_body_bytes,
            open_paths=files.paths | {HEALTH},
            refused=told_refusals(app, self._requests),
        )
        config = uvicorn.Config(
            guarded,
            http=self._keeper.protocol(),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        self._server = server = uvicorn.Server(config)
        if self._is_stopping:
            return
        host, port = self._socket.getsockname()[:2]
        self._tell(DoorOpened(job.job_id, host, port))
        await server.serve(sockets=[self._socket])

    def _stop(self) -> None:
        if self._requests is not None:
            self._requests.stop()
        if self._server is not None:
            self._server.should_exit = True

    def _tell(self, event: JobEvent) -> None:
        self._news.append(event)
        self._wake()
