"""The tree of messages: versions, branches, replies that stream, break off and go on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from core import store as ops
from core.chat.turns import ReplyFigures
from core.errors import UserError
from core.store.records import Message
from core.store.store import Store

FIGURES = ReplyFigures(prompt_tokens=10, new_tokens=20, first_token_s=0.5, tokens_per_s=40.0)


@pytest.fixture
def chat(store: Store) -> int:
    return store.run(lambda s: ops.conversations.create(s, model="starter")).id


def say(store: Store, chat: int, role: str, text: str, under: int | None) -> int:
    return store.run(lambda s: ops.messages.append(s, chat, role, text, parent_id=under)).id  # type: ignore[arg-type]


def view(store: Store, chat: int) -> list[Message]:
    return store.run(lambda s: ops.messages.branch(s, chat))


def shape(messages: list[Message]) -> list[tuple[str, int, int]]:
    return [(m.text, m.sibling, m.siblings) for m in messages]


def test_the_latest_messages_of_a_long_branch_come_alone(store: Store, chat: int) -> None:
    under = None
    for n in range(20):
        under = say(store, chat, "user" if n % 2 == 0 else "assistant", f"m{n}", under)
    latest = store.run(lambda s: ops.messages.branch(s, chat, latest=5))
    assert [m.text for m in latest] == [f"m{n}" for n in range(15, 20)]
    assert store.run(lambda s: ops.messages.branch(s, chat, latest=50)) == view(store, chat)


def test_versions_of_questions_and_answers_stand_beside_each_other(store: Store, chat: int) -> None:
    q1 = say(store, chat, "user", "q1", None)
    a1 = say(store, chat, "assistant", "a1", q1)
    q2 = say(store, chat, "user", "q2", a1)
    say(store, chat, "assistant", "a2", q2)
    assert shape(view(store, chat)) == [("q1", 1, 1), ("a1", 1, 1), ("q2", 1, 1), ("a2", 1, 1)]

    b1 = say(store, chat, "assistant", "b1", q1)
    assert shape(view(store, chat)) == [("q1", 1, 1), ("b1", 2, 2)]
    r1 = say(store, chat, "user", "r1", None)
    assert shape(view(store, chat)) == [("r1", 2, 2)]
    assert store.run(lambda s: ops.messages.get(s, r1)).siblings == 2
    assert store.run(lambda s: ops.messages.siblings(s, b1)) == [a1, b1]


def test_switching_shows_the_other_version_down_to_its_newest_end(store: Store, chat: int) -> None:
    q1 = say(store, chat, "user", "q1", None)
    a1 = say(store, chat, "assistant", "a1", q1)
    q2 = say(store, chat, "user", "q2", a1)
    say(store, chat, "assistant", "a2", q2)
    say(store, chat, "assistant", "a2 again", q2)
    b1 = say(store, chat, "assistant", "b1", q1)

    store.run(lambda s: ops.messages.switch(s, b1, -1))
    assert [m.text for m in view(store, chat)] == ["q1", "a1", "q2", "a2 again"]
    store.run(lambda s: ops.messages.switch(s, a1, -1))  # there is none before the first
    assert [m.text for m in view(store, chat)] == ["q1", "a1", "q2", "a2 again"]
    store.run(lambda s: ops.messages.switch(s, a1, +1))
    assert [m.text for m in view(store, chat)] == ["q1", "b1"]
    store.run(lambda s: ops.messages.show(s, q2))
    assert [m.text for m in view(store, chat)] == ["q1", "a1", "q2", "a2 again"]


def test_a_reply_streams_and_ends_with_its_figures(store: Store, chat: int) -> None:
    question = say(store, chat, "user", "q", None)
    reply = store.run(lambda s: ops.replies.start(s, chat, parent_id=question, model="starter"))
    assert (reply.state, reply.text, reply.model) == ("streaming", "", "starter")
    store.run(lambda s: ops.replies.save(s, reply.id, "half an ans", "let me think"))
    assert [(m.text, m.thinking, m.state) for m in view(store, chat)][1] == ("half an ans", "let me think", "streaming")
    assert store.run(lambda s: ops.search.everything(s, "half")) == []  # indexed when it ends

    end = ops.replies.End("done", FIGURES)
    store.run(lambda s: ops.replies.finish(s, reply.id, "half an answer", "let me think", end))
    done = view(store, chat)[1]
    assert (done.text, done.state, done.figures) == ("half an answer", "done", FIGURES)
    assert [h.message_id for h in store.run(lambda s: ops.search.everything(s, "half"))] == [reply.id]


def test_a_failed_reply_keeps_its_error_and_loses_it_when_it_goes_on(store: Store, chat: int) -> None:
    question = say(store, chat, "user", "q", None)
    reply = store.run(lambda s: ops.replies.start(s, chat, parent_id=question, model="starter")).id
    end = ops.replies.End("failed", None, "out_of_memory", {"needed": "3 GB", "steps": 4})
    store.run(lambda s: ops.replies.finish(s, reply, "part", "", end))
    failed = store.run(lambda s: ops.messages.get(s, reply))
    assert (failed.state, failed.error_code, failed.error_params) == (
        "failed",
        "out_of_memory",
        {"needed": "3 GB", "steps": 4},
    )
    again = store.run(lambda s: ops.replies.go_on(s, reply)).reply
    assert (again.state, again.text, again.error_code) == ("streaming", "part", "")


def test_the_end_of_a_reply_whose_conversation_is_gone_is_no_error(store: Store, chat: int) -> None:
    question = say(store, chat, "user", "q", None)
    reply = store.run(lambda s: ops.replies.start(s, chat, parent_id=question, model="starter")).id
    store.run(lambda s: ops.conversations.delete(s, chat))
    store.run(lambda s: ops.conversations.purge(s))
    store.run(lambda s: ops.replies.save(s, reply, "late", ""))
    store.run(lambda s: ops.replies.finish(s, reply, "late", "", ops.replies.End("done")))
    with pytest.raises(UserError):
        store.run(lambda s: ops.messages.get(s, reply))


STREAMER = """
import sys
from pathlib import Path
from core import store as ops
from core.store.store import Store
with Store(Path(sys.argv[1])) as door:
    reply = door.run(lambda s: ops.replies.start(s, int(sys.argv[2]), parent_id=int(sys.argv[3]), model="m"))
    door.run(lambda s: ops.replies.save(s, reply.id, "as far as it came", ""))
    print(reply.id, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def beside(store: Store, chat: int) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another front process that streams a reply into the same conversation."""
    question = say(store, chat, "user", "q", None)
    argv = [sys.executable, "-c", STREAMER, str(store._path), str(chat), str(question)]
    front = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert front.stdin and front.stdout
    try:
        yield front, int(front.stdout.readline())
    finally:
        front.kill()
        front.communicate()


def test_only_what_dead_processes_left_is_marked_interrupted(
    store: Store, chat: int, beside: tuple[subprocess.Popen[str], int]
) -> None:
    front, theirs = beside
    ours = store.run(lambda s: ops.replies.start(s, chat, parent_id=1, model="starter")).id
    assert store.run(lambda s: ops.replies.interrupt_orphans(s)) == []  # both writers are alive

    front.kill()
    psutil.Process(front.pid).wait(10)
    assert store.run(lambda s: ops.replies.interrupt_orphans(s)) == [theirs]
    marked = store.run(lambda s: ops.messages.get(s, theirs))
    assert (marked.state, marked.text) == ("interrupted", "as far as it came")
    assert [h.message_id for h in store.run(lambda s: ops.search.everything(s, "came"))] == [theirs]
    assert store.run(lambda s: ops.messages.get(s, ours)).state == "streaming"


def test_a_pid_that_came_again_is_not_the_owner(store: Store, chat: int) -> None:
    question = say(store, chat, "user", "q", None)
    reply = store.run(lambda s: ops.replies.start(s, chat, parent_id=question, model="starter")).id
    store.run(lambda s: s.connection().exec_driver_sql("UPDATE messages SET owner_started = owner_started - 60"))
    assert store.run(lambda s: ops.replies.interrupt_orphans(s)) == [reply]


def test_branching_off_copies_the_path_and_leaves_the_original(store: Store, chat: int) -> None:
    q1 = say(store, chat, "user", "q1 鸭梨", None)
    reply = store.run(lambda s: ops.replies.start(s, chat, parent_id=q1, model="starter")).id
    store.run(lambda s: ops.replies.finish(s, reply, "a1", "hm", ops.replies.End("cut", FIGURES)))
    say(store, chat, "user", "q2", reply)
    store.run(lambda s: ops.conversations.configure(s, chat, system_prompt="Be brief."))

    other = store.run(lambda s: ops.messages.branch_off(s, reply))
    assert (other.title, other.model, other.system_prompt) == ("q1 鸭梨 (2)", "starter", "Be brief.")
    copied = view(store, other.id)
    assert [(m.text, m.thinking, m.state, m.figures) for m in copied] == [
        ("q1 鸭梨", "", "done", None),
        ("a1", "hm", "cut", FIGURES),
    ]
    assert {m.id for m in copied}.isdisjoint({m.id for m in view(store, chat)})
    assert len(view(store, chat)) == 3
    again = store.run(lambda s: ops.messages.branch_off(s, copied[0].id))
    assert again.title == "q1 鸭梨 (3)"
    store.run(lambda s: ops.conversations.delete(s, again.id))
    found = {h.conversation_id for h in store.run(lambda s: ops.search.everything(s, "鸭梨")) if h.message_id}
    assert found == {chat, other.id}


def test_a_branch_of_another_conversation_is_not_shown(store: Store, chat: int) -> None:
    question = say(store, chat, "user", "q1", None)
    other = store.run(lambda s: ops.conversations.create(s)).id
    assert store.run(lambda s: ops.messages.branch(s, other, question)) == []
