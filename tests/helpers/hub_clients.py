"""What the tests of the hubs share: a client that no proxy of this machine gets in the way of, and errors by code."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import httpx
import pytest

from core.errors import UserError


def hub_client(proxy: str = "") -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, verify=False, proxy=proxy or None)


async def refusal(question: Awaitable[Any]) -> UserError:
    """The error that a question ends with, whose sentence exists."""
    with pytest.raises(UserError) as caught:
        await question
    assert str(caught.value)
    return caught.value
