"""Where the server listens. Invariant: what keeps it from doing so is told in the user's words."""

from __future__ import annotations

import errno
import socket

from core.errors import UserError

BACKLOG = 128


def bound(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        UserError: port_taken, port_forbidden, host_unknown.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise UserError("host_unknown", host=host, reason=str(error)) from error
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError("port_taken", host=host, port=port) from error
        if error.errno == errno.EACCES:
            raise UserError("port_forbidden", port=port) from error
        raise UserError("host_unknown", host=host, reason=error.strerror or str(error)) from error
    return made
