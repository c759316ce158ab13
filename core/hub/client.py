"""The HTTP client that hubs are asked with. Invariant: no cookie and no credential of the environment goes along."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import httpx

from core.errors import UserError

MAX_REDIRECTS = 5


def open_client(proxy: str = "", certificates: str = "") -> httpx.AsyncClient:
    """To be closed by the caller. proxy: "" for what the environment says; certificates: a file with more of them.

    Raises:
        UserError: proxy_unusable.
    """
    trust = ssl.create_default_context()
    if certificates:
        trust.load_verify_locations(certificates)
    try:
        return httpx.AsyncClient(
            verify=trust,
            proxy=proxy or None,
            max_redirects=MAX_REDIRECTS,
            headers={"User-Agent": "qwen-workbench"},
        )
    except (ValueError, httpx.InvalidURL, ImportError):  # of the settings, or of the environment
        shown = urlsplit(proxy).hostname or "?" if "://" in proxy else proxy or "?"
        raise UserError("proxy_unusable", proxy=shown) from None
