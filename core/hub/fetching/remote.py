"""What is fetched, and how the network is reached: the two values that everything of a download is told.

Invariant: an address, its headers and a proxy may hold credentials, so none of them is ever part of a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """What to fetch.

    name: a relative path below the folder it is fetched into; the folders on the way are made
    sha256: of its content, "" when unknown
    size_bytes: 0 when unknown
    git_oid: the sha1 that git gives the content; it is looked at when there is no sha256
    headers: sent to the host of `url` only, never to another one it leads to
    """

    url: str = field(repr=False)
    name: str
    sha256: str = ""
    size_bytes: int = 0
    git_oid: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or "?"

    @property
    def has_digest(self) -> bool:
        """Whether its bytes are known by content: they may then come from anywhere, and go on from any mirror."""
        return bool(self.sha256 or self.git_oid)


@dataclass(frozen=True, slots=True)
class Network:
    """How to reach it.

    proxy: "" for what the environment says
    attempts: those in a row without a byte; `attempts_later` once bytes have come, so that a cable may be out a while
    piece_bytes: what one request asks for, 0: by the size of the file
    """

    proxy: str = field(default="", repr=False)
    certificates: str = ""
    connect_s: float = 15.0
    stall_s: float = 30.0
    attempts: int = 5
    attempts_later: int = 20
    backoff_s: float = 1.0
    backoff_most_s: float = 20.0
    connections: int = 4
    piece_bytes: int = 0

    def like_pip(self, proxy: str, certificates: str) -> Network:
        """With what pip is set up to use, where the user has not chosen otherwise."""
        return replace(self, proxy=self.proxy or proxy, certificates=self.certificates or certificates)
