"""The server in words: how it stands, why it is closed, how a request ended, who asked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal, NamedTuple

from app.services.inference import ModelState
from app.services.questions import MEMORY
from app.services.request_log import Entry
from app.services.serving import ServerState
from app.ui.widgets.badge import Tone
from core import figures
from core.errors import UserError
from core.protocol.serving import OutsideRequest, RequestState
from core.translation import catalogue, language, say

Remedy = Literal["port", "models", "load", "origins", "again"]
# Whose sentences tell users of the command line which flag to use.
OWN_WORDS = ("port_taken", "port_forbidden", "origin_unusable", "host_name_unusable", "host_unknown")
_REMEDIES: dict[str, Remedy] = {
    "port_taken": "port",
    "port_forbidden": "port",
    "origin_unusable": "origins",
    "host_name_unusable": "origins",
    "serve_no_model": "models",
    "model_unknown": "models",
    "model_unknown_first": "models",
    "model_folder_gone": "models",
    "adapter_base_gone": "models",
}
STATES: dict[RequestState, Tone] = {"queued": "neutral", "reading": "info", "answering": "accent"}
ENDS: dict[str, Tone] = {"done": "ok", "cancelled": "neutral", "refused": "warn", "failed": "bad"}
LOOPBACK = ("127.0.0.1", "::1")


class Standing(NamedTuple):
    """How it stands. name: what it is called in the badge; loading: a bar is shown"""

    name: str
    tone: Tone
    mark: str
    sentence: str
    loading: bool = False


def standing(state: ServerState, model: ModelState) -> Standing:
    if state.phase == "open":
        if model.phase == "loading":
            return Standing(say("server_ui.changing"), "warn", "dot", say("server_ui.changing_means", name=model.name),
                            loading=True)  # fmt: skip
        return Standing(say("server_ui.open"), "ok", "dot", say("server_ui.open_means", name=state.model))
    if state.phase == "opening":
        if state.deaths:
            return Standing(say("server_ui.reopening"), "warn", "dot", say("server_ui.reopening_means"), loading=True)
        return Standing(say("server_ui.opening"), "info", "dot", say("server_ui.opening_means", name=state.model),
                        loading=True)  # fmt: skip
    if state.error is not None:
        return Standing(say("server_ui.failed"), "bad", "error", error_words(state.error))
    return Standing(say("server_ui.closed"), "neutral", "dot", say("server_ui.closed_means"))


def progress_words(model: ModelState) -> str:
    """How far the loading is; "" while it is not told."""
    progress = model.progress if model.phase == "loading" else None
    if progress is None or not progress.stage:
        return ""
    share = f"{progress.done / progress.total:.0%}" if progress.total else ""
    return say("server_ui.loading_stage", stage=say(f"progress.{progress.stage}"), share=share).strip()


def error_words(error: Exception) -> str:
    if isinstance(error, UserError) and error.code in OWN_WORDS:
        return say(f"server_ui.{error.code}", **error.params)
    return str(error)


def remedy(error: Exception) -> Remedy:
    """What answers it: a word of `server_ui.fix_<word>`."""
    if not isinstance(error, UserError):
        return "again"
    return "load" if error.code in MEMORY else _REMEDIES.get(error.code, "again")


def short(state: ServerState) -> str:
    """For the status bar; "" while it is closed."""
    if state.phase == "closed":
        return ""
    if state.phase == "opening":
        return say("server_ui.reopening" if state.deaths else "server_ui.status_opening")
    count = len(state.live)
    return say("server_ui.status_requests", count=count) if count else say("server_ui.status_open")


def who(client: str) -> str:
    return say("server_ui.this_computer") if client in LOOPBACK else client


def state_words(request: OutsideRequest) -> tuple[str, Tone]:
    return say(f"server_ui.state_{request.state}"), STATES[request.state]


def end_words(entry: Entry) -> tuple[str, Tone, str]:
    """What stands in the log, its tone, and more of it: what the error means."""
    words = say(f"server_ui.end_{entry.end}") if entry.end in ("done", "cancelled") else code_words(entry.code)
    count = f" ×{entry.count}" if entry.count > 1 else ""
    hint = say("server_ui.end_hint", status=entry.status, code=entry.code) if entry.code else str(entry.status)
    return words + count, ENDS[entry.end], hint


def code_words(code: str) -> str:
    """A refusal in two words; the code itself where there are none."""
    key = f"server_ui.code_{code}"
    return say(key) if key in catalogue(language()) else code


def rate(tokens_per_s: float) -> str:
    return say("server_ui.rate", rate=f"{tokens_per_s:.1f}") if tokens_per_s else ""


def clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def queue_words(live: Sequence[OutsideRequest]) -> str:
    """How many are under way, how many wait, and how fast all of them are together."""
    waiting = sum(one.state == "queued" for one in live)
    parts = [say("server_ui.running", count=len(live) - waiting)]
    parts += [say("server_ui.waiting", count=waiting)] if waiting else []
    total = sum(one.tokens_per_s for one in live)
    return " · ".join([*parts, *([rate(total)] if total else [])])


def amounts(prompt: int, new: int) -> tuple[str, str]:
    return figures.count(prompt) if prompt else "", figures.count(new) if new else ""
