"""A real front process that is killed while it streams, and what must be true afterwards.

Run as a program it is the front: it asks one question in each conversation of its argument and prints every word it
receives, with the time. `round_of` starts it, kills it with SIGKILL, and checks the database it leaves behind.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from app.services.chat import ChatService, ReplyGrew
from app.services.inference import InferenceService, ModelFiles
from core import store as ops
from core.chat.turns import Sampling
from core.store.store import Store
from tests.helpers.fake_model import ARGV

MAY_LOSE_S = 1.0
ENDLESS = Sampling(max_new_tokens=1_000_000, seed=100)  # words a second
A_FEW = Sampling(max_new_tokens=3)


@dataclass(frozen=True, slots=True)
class Round:
    """One kill: when after the first word it came, what the front had received, what was lost of it."""

    after_s: float
    received: int
    lost: int
    oldest_lost_s: float  # before the kill; 0 when nothing was lost


async def front(database: Path, conversations: list[int]) -> None:
    """Streams until it is killed."""

    def show(grew: ReplyGrew) -> None:
        print(f"{time.time():.6f} {grew.message_id} {grew.text}", flush=True)

    async with Store(database) as store:
        inference = InferenceService(lambda name: ModelFiles(name, database.parent), argv=ARGV)
        chat = ChatService(store, inference)
        chat.reply_grew.listen(show)
        for conversation in conversations:
            await chat.send(conversation, "words")
        await asyncio.Event().wait()


async def round_of(folder: Path, chance: random.Random, conversations: int = 2) -> Round:
    """Stream, kill, look, continue. Raises AssertionError when something that must hold does not."""
    database = folder / "workbench.db"
    async with Store(database) as store:
        made = [
            await store.call(lambda s: ops.conversations.create(s, model="m", sampling=ENDLESS))
            for _ in range(conversations)
        ]
    after_s = chance.uniform(0.0, 2.5)
    killed_at, lines = await asyncio.to_thread(_stream_and_kill, database, [row.id for row in made], after_s)
    received = _received(lines)
    with closing(sqlite3.connect(database)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
    return await _look(database, [row.id for row in made], received, killed_at, after_s)


def _stream_and_kill(database: Path, conversations: list[int], after_s: float) -> tuple[float, list[str]]:
    argv = [sys.executable, str(Path(__file__).resolve()), str(database), *map(str, conversations)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        first = process.stdout.readline()
        time.sleep(after_s)  # the moment of the kill is the point of the test
        killed_at = time.time()
        process.kill()
        lines = [first, *process.stdout]
    assert first, "the front died before its first word"
    return killed_at, [line for line in lines if line.endswith("\n")]  # the kill may have cut the last one


def _received(lines: list[str]) -> dict[int, list[tuple[float, str]]]:
    """Times and words of each message."""
    found: dict[int, list[tuple[float, str]]] = {}
    for line in lines:
        when, message_id, word = line.split()
        found.setdefault(int(message_id), []).append((float(when), word))
    return found


async def _look(
    database: Path,
    conversations: list[int],
    received: dict[int, list[tuple[float, str]]],
    killed_at: float,
    after_s: float,
) -> Round:
    lost: list[float] = []
    async with Store(database) as store:
        inference = InferenceService(lambda name: ModelFiles(name, database.parent), argv=ARGV)
        chat = ChatService(store, inference)
        try:
            assert await chat.recover() == len(conversations)
            for conversation in conversations:
                reply = (await chat.open(conversation)).messages[-1]
                assert reply.state == "interrupted", reply
                stored = reply.text.split()
                assert stored == [f"w{i}" for i in range(len(stored))]
                words = received.get(reply.id, [])
                assert [word for _, word in words] == [f"w{i}" for i in range(len(words))]
                lost += [killed_at - when for when, _ in words[len(stored) :]]
                await _go_on(chat, conversation, reply.id, len(stored))
        finally:
            await chat.close()
            await inference.close()
    assert max(lost, default=0.0) <= MAY_LOSE_S, f"lost what was received {max(lost):.3f} s before the kill"
    return Round(after_s, sum(map(len, received.values())), len(lost), max(lost, default=0.0))


async def _go_on(chat: ChatService, conversation: int, message_id: int, words: int) -> None:
    """The interrupted reply can be continued, in the same message."""
    ended = asyncio.get_running_loop().create_future()
    stop = chat.reply_ended.listen(lambda news: ended.set_result(news.message))
    await chat.configure(conversation, sampling=A_FEW)
    await chat.continue_reply(message_id)
    message = await asyncio.wait_for(ended, 20)
    stop()
    assert message.text.split() == [f"w{i}" for i in range(words + 3)], message
    assert message.state == "cut"


if __name__ == "__main__":
    asyncio.run(front(Path(sys.argv[1]), [int(word) for word in sys.argv[2:]]))
