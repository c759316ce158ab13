"""How the hubs are reached: endpoints from the settings or the environment, tokens from the key ring.

Invariant: the settings go before the environment; a token is asked of the key ring in a thread, since that may wait for
a person, and is handed out only together with the endpoint it is for.
"""

from __future__ import annotations

import asyncio
import os

from app.services.preferences import Preferences
from app.services.secrets import Secrets
from core.settings import Settings
from core.sources import PLACES, Access, Place

ENDPOINT_VARIABLES: dict[Place, str] = {"huggingface": "HF_ENDPOINT", "modelscope": "MODELSCOPE_ENDPOINT"}
TOKEN_VARIABLES: dict[Place, str] = {"huggingface": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}


class HubAccess:
    def __init__(self, preferences: Preferences, secrets: Secrets) -> None:
        self._preferences, self._secrets = preferences, secrets

    async def now(self) -> tuple[Access, ...]:
        """One for each hub."""
        return await asyncio.to_thread(accesses, self._preferences.settings, self._secrets)

    @property
    def proxy(self) -> str:
        """ "" where the environment shall say."""
        return self._preferences.settings.proxy


def accesses(settings: Settings, secrets: Secrets) -> tuple[Access, ...]:
    chosen: dict[Place, str] = {
        "huggingface": settings.huggingface_endpoint,
        "modelscope": settings.modelscope_endpoint,
    }
    return tuple(
        Access(
            place,
            chosen[place] or endpoint(place),
            secrets.get(place) or os.environ.get(TOKEN_VARIABLES[place], ""),
        )
        for place in PLACES
    )


def endpoint(place: Place) -> str:
    """What the environment says, "" where it says nothing. ModelScope's own variable may hold a bare host name."""
    said = os.environ.get(ENDPOINT_VARIABLES[place], "")
    return f"https://{said}" if said and "://" not in said else said
