"""By which addresses other machines reach this one, and which port is free. Looked up in a thread.

Invariant: an address is named only where an interface that is up has it; names are named as what they are, a try.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

import psutil

from core.errors import UserError
from core.serving import listening

TRIES = 20


@dataclass(frozen=True, slots=True)
class Reach:
    """addresses: of this machine in its networks; names: by which a network may know it."""

    addresses: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


def reach() -> Reach:
    """IPv4 addresses, private ones first; of interfaces that are up."""
    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    found = [
        ipaddress.IPv4Address(one.address)
        for name, addresses in psutil.net_if_addrs().items()
        for one in addresses
        if name in up and one.family == socket.AF_INET
    ]
    usable = [one for one in found if not (one.is_loopback or one.is_link_local)]
    usable.sort(key=lambda one: not one.is_private)  # stable: interfaces keep their order
    name = socket.gethostname()
    names = () if not name or name == "localhost" else (name,) if "." in name else (f"{name}.local", name)
    return Reach(tuple(dict.fromkeys(str(one) for one in usable)), names)


def free_port(host: str, port: int) -> int:
    """The next port above that can be listened at; 0, which lets the system choose, where none of the next ones can."""
    for candidate in range(max(port + 1, 1024), min(port + 1 + TRIES, 65536)):
        try:
            listening.bound(host, candidate).close()
        except UserError:
            continue
        return candidate
    return 0
