"""One window per home: a second start raises the first and ends.

Invariant: whoever holds the lock file in the home listens; a lock whose process is gone is taken over.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from PySide6.QtCore import QLockFile, QObject, Signal
from PySide6.QtNetwork import QLocalServer, QLocalSocket

WAIT_MS = 1000


class SingleWindow(QObject):
    """
    Signals:
        raised: another start asks for the window
    """

    raised = Signal()

    def __init__(self, home: Path) -> None:
        super().__init__()
        home.mkdir(parents=True, exist_ok=True)
        self._lock = QLockFile(str(home / "window.lock"))
        self._lock.setStaleLockTime(0)
        self._name = f"qwen-workbench-{hashlib.sha256(str(home).encode()).hexdigest()[:16]}"
        self._server = QLocalServer(self)

    def acquire(self) -> bool:
        """True when this is the first; otherwise the first has been asked to raise its window."""
        if not self._lock.tryLock(0):
            self._ask()
            return False
        QLocalServer.removeServer(self._name)  # left behind by a killed process: the lock says nobody listens
        self._server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        self._server.newConnection.connect(self._on_connection)
        self._server.listen(self._name)
        return True

    def release(self) -> None:
        self._server.close()
        self._lock.unlock()

    def _ask(self) -> None:
        socket = QLocalSocket()
        socket.connectToServer(self._name)
        socket.waitForConnected(WAIT_MS)
        socket.disconnectFromServer()

    def _on_connection(self) -> None:
        while connection := self._server.nextPendingConnection():
            connection.disconnected.connect(connection.deleteLater)
            self.raised.emit()
