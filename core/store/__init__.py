"""What the program remembers: conversations, runs, known models. Used by front processes only, never by workers.

    from core import store
    hits = await the_store.call(lambda s: store.search.everything(s, "attention"))

The modules of operations load SQLAlchemy, so they are imported on first touch, which happens inside the lambda and so
in the store's own thread. Invariant: `import core.store` (and `.store`, `.records`) imports no SQLAlchemy.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.store import conversations, downloads, messages, models, profiles, replies, runs, search, transfer

__all__ = ["conversations", "downloads", "messages", "models", "profiles", "replies", "runs", "search", "transfer"]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
