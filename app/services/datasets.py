"""Training data as the front sees it: check a file, look at its rows, mend it, make one of chats. No torch, no Qt.

Invariant: there is one data worker, started when it is first needed and again after it died; files are read there, and
only what people chatted here is written by this process.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from app.launch import worker_argv
from app.services.inference import as_error
from app.supervisor import State, WorkerSupervisor
from core import store
from core.data.new_file import new_file
from core.errors import UserError
from core.protocol.messages import CheckData, DataFile, Failed, Job, JobEvent, MendData, RowShown, ShowRow
from core.store.store import Store

if TYPE_CHECKING:
    from core.store.records import Message
    from core.store.store import Session


class DatasetService:
    def __init__(self, the_store: Store | None = None, *, argv: Sequence[str] | None = None) -> None:
        """the_store: of the chats, for chats_as_data() only"""
        self._store = the_store
        self._worker = WorkerSupervisor("data", argv or worker_argv("data"))
        self._starting = asyncio.Lock()

    def check(
        self, data: DataFile, *, validation_share: float = 0.0, eval_data: str = ""
    ) -> AsyncGenerator[JobEvent, None]:
        """Progress and DataChecked; the events end with Finished or Failed. Leaving them early cancels the check."""
        return self._run(CheckData(uuid.uuid4().hex, data, validation_share, eval_data))

    async def row(self, data: DataFile, row: int) -> RowShown:
        """A row (1-based) as the model will see it, with its problems.

        Raises:
            UserError: data_no_such_row, and what opening the file may say.
        """
        async with aclosing(self._run(ShowRow(uuid.uuid4().hex, data, row))) as events:
            async for event in events:
                if isinstance(event, RowShown):
                    return event
                if isinstance(event, Failed):
                    raise as_error(event)
        raise RuntimeError("the worker showed no row")

    def mend(
        self, data: DataFile, target: Path, fix: Sequence[str] = (), drop: Sequence[str] = ()
    ) -> AsyncGenerator[JobEvent, None]:
        """Progress and DataMended; the events end with Finished or Failed. fix, drop: as of MendData"""
        return self._run(MendData(uuid.uuid4().hex, data, str(target), tuple(fix), tuple(drop)))

    async def chats_as_data(self, conversations: Sequence[int], target: Path) -> int:
        """The branches in view as a new file of OpenAI messages, one conversation a line; how many those are.

        Conversations without an answer are left out, and so is a last question that has none.

        Raises:
            UserError: conversation_gone, chats_hold_no_answer, data_target_exists, data_not_written.
        """
        assert self._store is not None

        def rows(s: Session) -> list[dict[str, Any]]:
            return [_as_row(store.conversations.get(s, id).system_prompt, store.messages.branch(s, id))
                    for id in conversations]  # fmt: skip

        found = [row for row in await self._store.call(rows) if row["messages"]]
        if not found:
            raise UserError("chats_hold_no_answer")
        await asyncio.to_thread(_write, target, found)
        return len(found)

    async def close(self) -> None:
        """Running jobs end, and the worker with them."""
        if self._worker.state is not State.STOPPED:
            await self._worker.stop()

    async def _run(self, job: Job) -> AsyncGenerator[JobEvent, None]:
        async with self._starting:
            if self._worker.state is State.STOPPED:
                await self._worker.start()
        async with aclosing(self._worker.run(job)) as events:
            async for event in events:
                yield event


def _as_row(system_prompt: str, branch: Sequence[Message]) -> dict[str, Any]:
    said = [_as_message(message) for message in branch if message.text.strip()]
    while said and said[-1]["role"] != "assistant":
        said.pop()
    head = [{"role": "system", "content": system_prompt}] if system_prompt.strip() and said else []
    return {"messages": head + said}


def _as_message(message: Message) -> dict[str, str]:
    plain = {"role": message.role, "content": message.text.strip() if message.role == "assistant" else message.text}
    return {**plain, "reasoning_content": message.thinking} if message.thinking else plain


def _write(target: Path, rows: Sequence[dict[str, Any]]) -> None:
    with new_file(target) as file:
        file.writelines(msgspec.json.encode(row) + b"\n" for row in rows)
