"""What the store gives out: plain records that outlive the session. Imports no SQLAlchemy, so pages may import it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from msgspec import Struct

from core.chat.turns import ReplyFigures, Role, Sampling
from core.errors import Param
from core.profiling.plan import ProfilePlan
from core.sources import Source

MessageState = Literal["done", "streaming", "interrupted", "stopped", "cut", "full", "failed"]
"""done: ended by itself. stopped: the user stopped it. cut: the length limit. interrupted: the program or the worker
died while it streamed. failed: an error, see `error_code`. All but done and streaming can be continued."""


DownloadState = Literal["waiting", "running", "paused", "failed", "done", "cancelled"]
"""waiting: for its turn, or for the network. running: also after the program died, until it is continued. cancelled:
taken out by the user; its files go when the program ends, so that it can be undone."""


ProfileState = Literal["running", "done", "cancelled", "interrupted"]
"""running: a front is at it. interrupted: that front died. A table that is not done can be gone on with."""


class MeasuredMemory(Struct, frozen=True):
    """What a model really took when it ran here. bytes: the highest; tokens: the longest conversation it held."""

    bytes: int
    tokens: int
    weights: str
    kv_cache: str
    device: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation. `leaf_id` is the last message of the branch in view, None while it is empty."""

    id: int
    title: str
    model: str
    system_prompt: str
    sampling: Sampling
    preset: str
    thinking: bool | None
    pinned: bool
    leaf_id: int | None
    draft: str
    created: datetime
    updated: datetime


@dataclass(frozen=True, slots=True)
class ConversationSummary:
    """A row of the list: newest first, pinned above."""

    id: int
    title: str
    preview: str
    pinned: bool
    updated: datetime


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the tree. `sibling` is its 1-based place among `siblings` versions."""

    id: int
    conversation_id: int
    parent_id: int | None
    role: Role
    text: str
    thinking: str
    model: str
    state: MessageState
    figures: ReplyFigures | None
    error_code: str
    error_params: dict[str, Param]
    created: datetime
    sibling: int = 1
    siblings: int = 1


@dataclass(frozen=True, slots=True)
class Hit:
    """A message found by search, or with `message_id` None a title. `snippet` marks the match with U+0002, U+0003."""

    conversation_id: int
    message_id: int | None
    title: str
    snippet: str
    updated: datetime


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model of the library as the store remembers it; the facts stand in its manifest."""

    name: str
    folder: str
    last_used: datetime | None
    measured: MeasuredMemory | None = None


@dataclass(frozen=True, slots=True)
class Download:
    """One model on its way into the library, or what became of it.

    sources: empty for a model that comes as a Python package; models_folder: where it began to come, and stays
    file: the one file of the repository to take (GGUF), "" for what is needed
    base: of an adapter, the model it belongs to; total_bytes: 0 while it is not known
    """

    id: int
    name: str
    sources: tuple[Source, ...]
    models_folder: str
    file: str
    base: str
    convert_pickle: bool
    state: DownloadState
    done_bytes: int
    total_bytes: int
    error_code: str
    error_params: dict[str, Param]
    created: datetime
    ended: datetime | None


@dataclass(frozen=True, slots=True)
class Run:
    """Summary of a training run; its truth is its directory."""

    id: int
    name: str
    run_dir: str
    model: str
    state: str
    step: int
    steps: int
    created: datetime


@dataclass(frozen=True, slots=True)
class RunMetric:
    """One series of a run, summed up: its value at `step`, the last one told, and its extremes."""

    name: str
    step: int
    latest: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class ProfileRun:
    """A table that was measured, or is. cells: in all; measured: of them, those that have figures; lost: those that
    were tried in vain. What is in neither was not begun.

    device: the card or the processor, for people; results are asked for apart, since they are large
    """

    id: int
    name: str
    plan: ProfilePlan
    state: ProfileState
    cells: int
    measured: int
    device: str
    created: datetime
    ended: datetime | None
    lost: int = 0
