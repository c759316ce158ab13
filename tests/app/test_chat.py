"""The verbs of chat with the real store, the real inference service and a real worker process without a model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.services import chat as chat_module
from app.services.chat import ChatService, ReplyEnded, ReplyGrew, ReplyProgress
from app.services.inference import InferenceService, ModelFiles
from core.chat.turns import Sampling
from core.errors import UserError
from core.protocol.messages import Generate, JobEvent
from core.store.records import Message
from core.store.store import Store
from tests.helpers.fake_model import ARGV
from tests.helpers.waiting import until

FAST = Sampling(max_new_tokens=5)
SLOW = Sampling(max_new_tokens=100_000, seed=100)


class Chat:
    """The service with everything it said."""

    def __init__(self, service: ChatService, end_worker: Callable[[], None] = lambda: None) -> None:
        self.verbs = service
        self.end_worker = end_worker
        self.grew: list[ReplyGrew] = []
        self.progress: list[ReplyProgress] = []
        self.ended: list[ReplyEnded] = []
        self.branches: list[int] = []
        self.lists = 0
        service.reply_grew.listen(self.grew.append)
        service.reply_progress.listen(self.progress.append)
        service.reply_ended.listen(self.ended.append)
        service.branch_changed.listen(self.branches.append)
        service.list_changed.listen(lambda _: setattr(self, "lists", self.lists + 1))

    async def reply_to(self, conversation: int, text: str) -> Message:
        return await self.end_of(await self.verbs.send(conversation, text))

    async def end_of(self, message_id: int, timeout_s: float = 10.0) -> Message:
        """The message once its reply has ended."""
        await until(lambda: any(e.message.id == message_id for e in self.ended), timeout_s)
        return next(e.message for e in reversed(self.ended) if e.message.id == message_id)

    async def view(self, conversation: int) -> list[Message]:
        return (await self.verbs.open(conversation)).messages

    async def shape(self, conversation: int) -> list[tuple[str, int, int]]:
        return [(m.text, m.sibling, m.siblings) for m in await self.view(conversation)]

    async def grown(self, message_id: int, pieces: int = 3) -> None:
        await until(lambda: sum(g.message_id == message_id for g in self.grew) >= pieces)


@asynccontextmanager
async def started(home: Path) -> AsyncIterator[Chat]:
    async with Store(home / "workbench.db") as store:
        inference = InferenceService(lambda name: ModelFiles(name, home / name), argv=ARGV)
        service = ChatService(store, inference)
        try:
            yield Chat(service, inference.kill)
        finally:
            await service.close()
            await inference.close()


@asynccontextmanager
async def scripted(home: Path, *answers: Any) -> AsyncIterator[Chat]:
    """With answers from functions of the test, where a process adds nothing."""

    class Scripted:
        def generate(self, model: str, job: Generate) -> AsyncGenerator[JobEvent, None]:
            return left.pop(0)(job)  # type: ignore[no-any-return]

        def cancel(self, job_id: str) -> None:
            pass

    left = list(answers)
    async with Store(home / "workbench.db") as store:
        service = ChatService(store, Scripted())
        try:
            yield Chat(service)
        finally:
            await service.close()


async def test_a_question_is_answered_shown_stored_and_still_there_after_a_restart(tmp_path: Path) -> None:
    async with started(tmp_path) as chat:
        made = await chat.verbs.create("m", "Be brief.", FAST)
        reply_id = await chat.verbs.send(made.id, "words\nplease")
        assert chat.verbs.streaming() == {made.id}
        reply = await chat.end_of(reply_id)
        assert (reply.text, reply.state, reply.model) == ("w0 w1 w2 w3 w4 ", "cut", "m")
        assert reply.figures is not None and reply.figures.new_tokens == 5
        assert "".join(g.text for g in chat.grew) == reply.text
        assert {p.progress.stage for p in chat.progress} == {"loading_weights"}
        assert chat.branches == [made.id]
        assert chat.verbs.streaming() == set()
        assert chat.lists >= 3

    async with started(tmp_path) as chat:
        assert await chat.verbs.recover() == 0
        (summary,) = await chat.verbs.conversations()
        assert (summary.title, summary.preview) == ("words", "w0 w1 w2 w3 w4")
        assert await chat.shape(made.id) == [("words\nplease", 1, 1), ("w0 w1 w2 w3 w4 ", 1, 1)]
        assert (await chat.view(made.id))[1] == reply


async def test_thinking_is_kept_apart_from_the_answer(tmp_path: Path) -> None:
    async with started(tmp_path) as chat:
        made = await chat.verbs.create("m")
        reply = await chat.reply_to(made.id, "think")
        assert (reply.thinking, reply.text, reply.state) == ("let me see", "42", "done")
        assert [(g.text, g.thinking) for g in chat.grew] == [("", "let me "), ("", "see"), ("42", "")]


async def test_the_model_reads_prompt_questions_and_answers_and_no_empty_reply(tmp_path: Path) -> None:
    async with started(tmp_path) as chat:
        made = await chat.verbs.create("m", "Be brief.", thinking=False)
        await chat.verbs.configure(made.id, model="broken")
        failed = await chat.reply_to(made.id, "think one")
        assert (failed.state, failed.error_code, failed.text) == ("failed", "chat_not_last", "")
        await chat.verbs.configure(made.id, model="m")
        await chat.reply_to(made.id, "think two")
        read = json.loads((await chat.reply_to(made.id, "echo three")).text)
        assert read == {
            "turns": [
                ["system", "Be brief.", ""],
                ["user", "think two", ""],  # the failed question would fail it again
                ["assistant", "42", "let me see"],
                ["user", "echo three", ""],
            ],
            "thinking": False,
            "continues": False,
        }


async def test_answering_again_and_editing_make_versions_that_can_be_switched(tmp_path: Path) -> None:
    async with started(tmp_path) as chat:
        made = await chat.verbs.create("m", sampling=FAST)
        first = await chat.reply_to(made.id, "words")
        await chat.verbs.configure(made.id, sampling=Sampling(max_new_tokens=1))
        again = await chat.end_of(await chat.verbs.regenerate(first.id))
        assert (again.sibling, again.siblings) == (2, 2)
        assert await chat.shape(made.id) == [("words", 1, 1), ("w0 ", 2, 2)]

        question = (await chat.view(made.id))[0]
        await chat.end_of(await chat.verbs.edit(question.id, "think"))
        assert await chat.shape(made.id) == [("think", 2, 2), ("42", 1, 1)]

        await chat.verbs.switch((await chat.view(made.id))[0].id, -1)
        await chat.verbs.switch(again.id, -1)
        assert await chat.shape(made.id) == [("words", 1, 2), ("w0 w1 w2 w3 w4 ", 1, 2)]
        third = await chat.end_of(await chat.verbs.regenerate(question.id))  # a question: one more reply to it
        assert (third.sibling, third.siblings) == (3, 3)


async def test_stop_keeps_what_came_and_continue_writes_on_in_the_same_message(tmp_path: Path) -> None:
    async with started(tmp_path) as chat:
        made = await chat.verbs.create("m", sampling=SLOW)
        reply_id = await chat.verbs.send(made.id, "words")
        await chat.grown(reply_id)
        chat.verbs.stop(made.id)
        chat.verbs.stop(made.id)
        stopped = await chat.end_of(reply_id)
        assert stopped.state == "stopped" and stopped.text.startswith("w0 w1 w2 ")
        assert stopped.figures is not None

        await chat.verbs.configure(made.id, sampling=FAST)
        chat.ended.clear()
        assert await chat.verbs.continue_reply(reply_id) == reply_id
        whole = await chat.end_of(reply_id)
        count = stopped.text.count(" ")
        assert whole.text == "".join(f"w{i} " for i in range(count + 5))
        assert whole.state == "cut"
        assert whole.figures is not None and whole.figures.new_tokens == stopped.figures.new_tokens + 5
        assert (await chat.view(made.id))[1] == whole


async def test_a_full_context_is_told_from_a_reply_that_was_cut(tmp_path: Path) -> None:
    async with started(tmp_path) as chat:
        made = await chat.verbs.create("m", "", FAST)
        reply_id = await chat.verbs.send(made.id, "full")
        reply = await chat.end_of(reply_id)
        assert (reply.text, reply.state) == ("w0 ", "full")
        chat.ended.clear()
        await chat.verbs.continue_reply(reply_id)  # by its key; there is no room
        again = await chat.end_of(reply_id)
        assert (again.text, again.state, again.error_code) == ("w0 ", "full", "")


async def test_a_reply_can_be_stopped_before_its_first_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_module, "STOP_S", 0.3)
    async with started(tmp_path) as chat:
        made = await chat.verbs.create("m", sampling=FAST)
        await chat.reply_to(made.id, "words")
        reply_id = await chat.verbs.send(made.id, "deaf")
        chat.verbs.stop(made.id)
        assert (await chat.end_of(reply_id)).state == "stopped"
        chat.verbs.stop(made.id)  # nothing to stop
        assert chat.verbs.streaming() == set()
        chat.end_worker()


async def test_several_conversations_stream_at_once_and_one_can_be_opened_meanwhile(tmp_path: Path) -> None:
    async with started(tmp_path) as chat:
        rooms = [(await chat.verbs.create("m", sampling=SLOW)).id for _ in range(3)]
        replies = [await chat.verbs.send(room, "words") for room in rooms]
        assert chat.verbs.streaming() == set(rooms)
        for reply in replies:
            await chat.grown(reply)
        live = (await chat.view(rooms[0]))[1]
        assert live.state == "streaming"
        assert live.text == "".join(g.text for g in chat.grew if g.message_id == replies[0])
        chat.verbs.stop(rooms[0])
        await chat.end_of(replies[0])
        before = len(chat.grew)
        await until(lambda: {g.message_id for g in chat.grew[before:]} == set(replies[1:]))
        for room in rooms:
            chat.verbs.stop(room)
        for reply in replies:
            assert (await chat.end_of(reply)).state == "stopped"


async def test_a_conversation_answers_one_question_at_a_time(tmp_path: Path) -> None:
    async with started(tmp_path) as chat:
        made = await chat.verbs.create("m", sampling=SLOW)
        both = await asyncio.gather(
            chat.verbs.send(made.id, "words"), chat.verbs.send(made.id, "words"), return_exceptions=True
        )
        (refused,) = (result for result in both if isinstance(result, UserError))
        assert refused.code == "chat_busy"
        assert len(await chat.view(made.id)) == 2
        chat.verbs.stop(made.id)


async def test_without_a_model_nothing_is_asked_and_the_user_is_told(tmp_path: Path) -> None:
    async with started(tmp_path) as chat:
        made = await chat.verbs.create()
        await chat.verbs.save_draft(made.id, "words")
        with pytest.raises(UserError, match="No model is chosen"):
            await chat.verbs.send(made.id, "words")
        opened = await chat.verbs.open(made.id)
        assert (opened.messages, opened.conversation.draft) == ([], "words")
        await chat.verbs.configure(made.id, model="m", sampling=FAST)
        await chat.reply_to(made.id, "words")
        assert (await chat.verbs.open(made.id)).conversation.draft == ""


@pytest.mark.errors_logged
async def test_the_death_of_the_worker_keeps_the_text_and_the_reply_can_go_on(tmp_path: Path) -> None:
    async with started(tmp_path) as chat:
        made = await chat.verbs.create("m", sampling=FAST)
        cut = await chat.reply_to(made.id, "die")
        assert (cut.text, cut.state, cut.error_code) == ("w0 ", "interrupted", "worker_killed")
        assert cut.error_params["signal"] == "SIGKILL"
        assert (await chat.view(made.id))[1] == cut
        assert (await chat.reply_to(made.id, "words")).state == "cut"  # a new worker took over

        failed = await chat.reply_to(made.id, "hunger")
        assert (failed.text, failed.state, failed.error_code) == ("w0 ", "failed", "out_of_memory")


async def test_a_worker_that_does_not_obey_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_module, "STOP_S", 0.1)
    async with started(tmp_path) as chat:
        made = await chat.verbs.create("m")
        reply_id = await chat.verbs.send(made.id, "deaf")
        await chat.grown(reply_id, 1)
        chat.verbs.stop(made.id)
        reply = await chat.end_of(reply_id, 2)
        assert (reply.text, reply.state) == ("w0 ", "stopped")
        chat.end_worker()  # or the test waits for all of its grace


async def test_the_end_of_the_program_saves_replies_as_interrupted(tmp_path: Path) -> None:
    async with started(tmp_path) as chat:
        made = await chat.verbs.create("m", sampling=SLOW)
        reply_id = await chat.verbs.send(made.id, "words")
        await chat.grown(reply_id)
    assert chat.ended[-1].message.state == "interrupted"
    async with started(tmp_path) as chat:
        reply = (await chat.view(made.id))[1]
        assert reply.state == "interrupted" and reply.text.startswith("w0 w1 w2 ")


async def test_a_deleted_conversation_stops_writing_and_comes_back_with_what_it_had(tmp_path: Path) -> None:
    async with started(tmp_path) as chat:
        made = await chat.verbs.create("m", sampling=SLOW)
        reply_id = await chat.verbs.send(made.id, "words")
        await chat.grown(reply_id)
        assert (await chat.verbs.delete(made.id)).title == "words"
        stopped = await chat.end_of(reply_id)
        assert await chat.verbs.conversations() == []
        await chat.verbs.undo_delete(made.id)
        assert (await chat.view(made.id))[1] == stopped
        await chat.verbs.delete(made.id)
        await chat.verbs.recover()
        with pytest.raises(UserError):
            await chat.verbs.undo_delete(made.id)


async def test_a_found_message_is_brought_into_view_from_another_branch(tmp_path: Path) -> None:
    async with started(tmp_path) as chat:
        made = await chat.verbs.create("m", sampling=FAST)
        await chat.reply_to(made.id, "words about 鸭梨")
        question = (await chat.view(made.id))[0]
        await chat.end_of(await chat.verbs.edit(question.id, "think"))
        hit = next(h for h in await chat.verbs.search("鸭梨") if h.message_id)
        assert hit.message_id == question.id
        opened = await chat.verbs.open(made.id, question.id)
        assert [m.text for m in opened.messages] == ["words about 鸭梨", "w0 w1 w2 w3 w4 "]
        assert await chat.shape(made.id) == [("words about 鸭梨", 1, 2), ("w0 w1 w2 w3 w4 ", 1, 1)]
        assert chat.verbs.last_opened == made.id
        assert [c.id for c in await chat.verbs.conversations("鸭梨")] == [made.id]


async def test_branch_rename_and_pin_change_the_list(tmp_path: Path) -> None:
    async with started(tmp_path) as chat:
        made = await chat.verbs.create("m", sampling=FAST)
        reply = await chat.reply_to(made.id, "words")
        other = await chat.verbs.branch(reply.id)
        await chat.verbs.rename(made.id, "Mine")
        await chat.verbs.toggle_pin(made.id)
        assert [(c.title, c.pinned) for c in await chat.verbs.conversations()] == [("Mine", True), ("words (2)", False)]
        await chat.verbs.toggle_pin(made.id)
        await chat.verbs.pin(other.id, True)
        assert [c.title for c in await chat.verbs.conversations()] == ["words (2)", "Mine"]
        assert [text for text, _, _ in await chat.shape(other.id)] == ["words", "w0 w1 w2 w3 w4 "]


@pytest.mark.loops("asyncio")  # the threads of qasync's pool stay until the loop ends, which the leak check dislikes
async def test_conversations_leave_as_files_and_come_back(tmp_path: Path) -> None:
    async with started(tmp_path) as chat:
        made = await chat.verbs.create("m", sampling=FAST)
        await chat.reply_to(made.id, "words 鸭梨")
        file = tmp_path / "chat.json"
        file.write_text("older", "utf-8")
        await chat.verbs.save_file(file, await chat.verbs.export_json(made.id))
        copy = await chat.verbs.import_file(file)
        assert await chat.shape(copy.id) == await chat.shape(made.id)
        assert "words 鸭梨" in await chat.verbs.export_markdown(made.id)

        with pytest.raises(UserError, match="could not be read"):
            await chat.verbs.import_file(tmp_path / "missing.json")
        with pytest.raises(UserError, match="could not be written"):
            await chat.verbs.save_file(tmp_path / "no folder" / "chat.json", "text")
        assert not list(tmp_path.glob(".*.part"))
