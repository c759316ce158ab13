"""The tables, as typed rows. The migrations make them; a test holds both to each other.

Invariant: rows never leave `core.store`; what goes out are the records. The full-text tables are not here, since the
ORM cannot say them: see `search`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Float, ForeignKey, Index, Integer, Text, TypeDecorator, text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from core.chat.turns import ReplyFigures, Role, Sampling
from core.errors import Param
from core.profiling.plan import ProfilePlan
from core.profiling.result import CellResult
from core.profiling.timeline import MemoryTimeline
from core.sources import Source
from core.store.records import DownloadState, MeasuredMemory, MessageState, ProfileState


def utc_now() -> datetime:
    return datetime.now(UTC)


def moment(microseconds: int) -> datetime:
    """What Moment stored."""
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)


def storable(words: str) -> str:
    """Half of a surrogate pair (a paste can hold one) has no UTF-8 and would be refused by SQLite."""
    return words if words.isascii() else words.encode("utf-8", "replace").decode("utf-8")


class Words(TypeDecorator[str]):
    """Text of people and models."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


class Moment(TypeDecorator[datetime]):
    """Microseconds since 1970, UTC."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else round(value.timestamp() * 1_000_000)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else moment(value)


class Json(TypeDecorator[Any]):
    """A value of `kind` as JSON; an unknown shape raises when it is read, so it never spreads."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind
        self._decode = msgspec.json.Decoder(kind).decode

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else self._decode(value)


class Row(DeclarativeBase):
    type_annotation_map = {str: Words, datetime: Moment, float: Float}  # noqa: RUF012 -- SQLAlchemy's own protocol


class ConversationRow(Row):
    """`is_named`: the user chose the title. `deleted`: thrown away, undone until the next start of the window."""

    __tablename__ = "conversations"
    __table_args__ = (Index("conversations_in_order", "pinned", "updated"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    is_named: Mapped[bool]
    model: Mapped[str]
    system_prompt: Mapped[str]
    sampling: Mapped[Sampling] = mapped_column(Json(Sampling))
    preset: Mapped[str]
    thinking: Mapped[bool | None]
    pinned: Mapped[bool]
    leaf_id: Mapped[int | None]
    draft: Mapped[str]
    created: Mapped[datetime]
    updated: Mapped[datetime]
    deleted: Mapped[datetime | None]


class MessageRow(Row):
    """The owner is the front process that streams into the message, by pid and start time; set only meanwhile."""

    __tablename__ = "messages"
    __table_args__ = (
        Index("messages_of_conversation", "conversation_id", "parent_id"),
        Index("messages_by_parent", "parent_id"),
        Index("messages_streaming", "state", sqlite_where=text("state = 'streaming'")),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"))
    role: Mapped[Role] = mapped_column(Text)
    text: Mapped[str]
    thinking: Mapped[str]
    model: Mapped[str]
    state: Mapped[MessageState] = mapped_column(Text)
    figures: Mapped[ReplyFigures | None] = mapped_column(Json(ReplyFigures))
    error_code: Mapped[str]
    error_params: Mapped[dict[str, Param] | None] = mapped_column(Json(dict[str, Param]))
    created: Mapped[datetime]
    owner_pid: Mapped[int | None]
    owner_started: Mapped[float | None]


class RunRow(Row):
    __tablename__ = "runs"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    run_dir: Mapped[str] = mapped_column(unique=True)
    model: Mapped[str]
    state: Mapped[str]
    step: Mapped[int]
    steps: Mapped[int]
    created: Mapped[datetime]


class RunMetricRow(Row):
    """One series of a run, summed up; the series itself lies in the run's directory."""

    __tablename__ = "run_metrics"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int]
    latest: Mapped[float]
    lowest: Mapped[float]
    highest: Mapped[float]


class ModelRow(Row):
    __tablename__ = "models"

    name: Mapped[str] = mapped_column(primary_key=True)
    folder: Mapped[str]
    last_used: Mapped[datetime | None]
    measured: Mapped[MeasuredMemory | None] = mapped_column(Json(MeasuredMemory))


class DownloadRow(Row):
    """`place`: its turn in the queue, from the front."""

    __tablename__ = "downloads"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    sources: Mapped[tuple[Source, ...]] = mapped_column(Json(tuple[Source, ...]))
    models_folder: Mapped[str]
    file: Mapped[str]
    base: Mapped[str]
    convert_pickle: Mapped[bool]
    state: Mapped[DownloadState] = mapped_column(Text)
    place: Mapped[int]
    done_bytes: Mapped[int]
    total_bytes: Mapped[int]
    error_code: Mapped[str]
    error_params: Mapped[dict[str, Param] | None] = mapped_column(Json(dict[str, Param]))
    created: Mapped[datetime]
    ended: Mapped[datetime | None]


class ProfileRunRow(Row):
    """The owner is the front process that measures the table, by pid and start time; set only meanwhile."""

    __tablename__ = "profile_runs"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    plan: Mapped[ProfilePlan] = mapped_column(Json(ProfilePlan))
    state: Mapped[ProfileState] = mapped_column(Text)
    cells: Mapped[int]
    device: Mapped[str]
    created: Mapped[datetime]
    ended: Mapped[datetime | None]
    owner_pid: Mapped[int | None]
    owner_started: Mapped[float | None]


class ProfileCellRow(Row):
    """`key`: Cell.key. `result`: without its timeline."""

    __tablename__ = "profile_cells"

    run_id: Mapped[int] = mapped_column(ForeignKey("profile_runs.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    result: Mapped[CellResult] = mapped_column(Json(CellResult))
    timeline: Mapped[MemoryTimeline] = mapped_column(Json(MemoryTimeline))
