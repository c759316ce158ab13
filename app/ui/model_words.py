"""What the window says of a loaded model, in the same words everywhere: chips, status bar, load dialog, toasts."""

from __future__ import annotations

from core import figures
from core.protocol.messages import ModelLoaded, Notice
from core.translation import catalogue, language, say


def device_words(device: str) -> str:
    return say("status.on_processor") if device == "cpu" else device


def weights_words(loaded: ModelLoaded) -> str:
    """How the weights lie in memory: "BF16", "Int4"."""
    return figures.precision(loaded.weights or loaded.precision)


def loaded_words(loaded: ModelLoaded) -> str:
    """`Int4 · processor`."""
    return f"{weights_words(loaded)} · {device_words(loaded.device)}"


def kv_words(kv_cache: str) -> str:
    """ "plain" is the precision of the model."""
    key = f"load.kv_{kv_cache}"
    return say(key) if key in catalogue(language()) else kv_cache


def notice_words(notice: Notice) -> str:
    """Its sentence; a code from a newer worker may have none yet, then the code itself."""
    key = f"notice.{notice.code}"
    return say(key, **notice.params) if key in catalogue(language()) else notice.code


def reason_words(key: str) -> str:
    """The sentence of a reason, "" where there is none."""
    whole = f"reason.{key}"
    return say(whole) if key and whole in catalogue(language()) else ""
