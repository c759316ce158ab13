"""Where the bytes of one file lie: what its address leads to, remembered until that is refused.

Hubs answer with a signed address of another host, which serves for a while. Invariant: the file's own headers and the
password in its address go to its own host only, and never in the open where the address was https.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from core.errors import UserError
from core.hub.fetching.line import Answer, Line
from core.hub.fetching.remote import RemoteFile
from core.hub.fetching.tunnels import basic

MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
REFUSALS = (401, 403, 404, 410)


class Address:
    """
    Attributes:
        is_found: it has led to content before
    """

    def __init__(self, remote: RemoteFile) -> None:
        parts = urlsplit(remote.url)
        self._own = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        self._host = remote.host
        self._headers = dict(remote.headers)
        if "@" in parts.netloc:
            self._headers["Authorization"] = basic(unquote(parts.username or ""), unquote(parts.password or ""))
        self._found = ""
        self.is_found = False

    def open(self, line: Line, headers: Mapping[str, str]) -> tuple[Answer, str]:
        """The answer behind all redirects, and the host it came from.

        Raises:
            Trouble, Halted
            UserError: download_redirects, download_refused for an address nobody can open, and what Line.get says.
        """
        remembered = self._found
        url = remembered or self._own
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._get(line, url, headers)
            if answer.status in REDIRECTS:
                url = urljoin(url, answer.header("Location"))
            elif answer.status in REFUSALS and url == remembered:
                url, remembered = self._own, ""
            else:
                if answer.status in (200, 206):
                    self._found, self.is_found = url, True
                return answer, urlsplit(url).hostname or "?"
            answer.close()
        raise UserError("download_redirects", host=self._host)

    def _get(self, line: Line, url: str, headers: Mapping[str, str]) -> Answer:
        try:
            return line.get(url, {**headers, **(self._headers if self._is_home(url) else {})})
        except ValueError:
            raise UserError("download_refused", host=self._host, status="?") from None

    def _is_home(self, url: str) -> bool:
        """The same place, or the same host with the connection made safe."""
        own, other = urlsplit(self._own), urlsplit(url)
        is_safer = (own.scheme, other.scheme) == ("http", "https") and own.hostname == other.hostname
        return is_safer or (own.scheme, own.hostname, own.port) == (other.scheme, other.hostname, other.port)
