"""Conversations leave as JSON or Markdown and come back whole; a bad file changes nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core import store as ops
from core import translation
from core.chat.turns import ReplyFigures, Sampling
from core.errors import UserError
from core.store.store import Store

FIGURES = ReplyFigures(prompt_tokens=10, new_tokens=20, first_token_s=0.5, tokens_per_s=40.0)


@pytest.fixture
def chat(store: Store) -> int:
    """Two answers to one question, the first in view."""

    def fill(s: Any) -> int:
        made = ops.conversations.create(
            s, "鸭梨 and pears", model="starter", system_prompt="Be brief.", sampling=Sampling(seed=7), thinking=True
        )
        question = ops.messages.append(s, made.id, "user", "which pear? 鸭梨", parent_id=None).id
        first = ops.replies.start(s, made.id, parent_id=question, model="starter").id
        ops.replies.finish(s, first, "**This** one.", "hm, pears", ops.replies.End("cut", FIGURES))
        second = ops.replies.start(s, made.id, parent_id=question, model="other").id
        ops.replies.finish(s, second, "", "", ops.replies.End("failed", None, "out_of_memory", {"needed": "3 GB"}))
        ops.messages.switch(s, second, -1)
        return made.id

    return store.run(fill)


def exported(store: Store, chat: int) -> dict[str, Any]:
    return dict(json.loads(store.run(lambda s: ops.transfer.to_json(s, chat))))


def take(store: Store, file: object) -> int:
    data = file if isinstance(file, bytes) else json.dumps(file).encode()
    return store.run(lambda s: ops.transfer.from_json(s, data)).id


def test_an_exported_conversation_comes_back_with_every_branch(store: Store, chat: int) -> None:
    file = exported(store, chat)
    copy = take(store, file)
    assert copy != chat
    before, after = (store.run(lambda s, i=i: ops.conversations.get(s, i)) for i in (chat, copy))
    assert (after.title, after.sampling, after.thinking) == (before.title, before.sampling, before.thinking)
    assert (after.model, after.system_prompt) == ("starter", "Be brief.")

    messages = store.run(lambda s: ops.messages.branch(s, copy))
    assert [(m.text, m.thinking, m.state, m.figures, m.siblings) for m in messages] == [
        ("which pear? 鸭梨", "", "done", None, 1),
        ("**This** one.", "hm, pears", "cut", FIGURES, 2),
    ]
    store.run(lambda s: ops.messages.switch(s, messages[1].id, 1))
    other = store.run(lambda s: ops.messages.branch(s, copy))[1]
    assert (other.state, other.error_code, other.error_params) == ("failed", "out_of_memory", {"needed": "3 GB"})
    found = {h.conversation_id for h in store.run(lambda s: ops.search.everything(s, "鸭梨"))}
    assert found == {chat, copy}


def test_a_reply_exported_while_it_streams_comes_back_interrupted(store: Store, chat: int) -> None:
    store.run(lambda s: ops.replies.start(s, chat, parent_id=1, model="starter"))
    copy = take(store, exported(store, chat))
    assert store.run(lambda s: ops.messages.branch(s, copy))[-1].state == "interrupted"


def test_an_empty_conversation_can_be_exported(store: Store) -> None:
    empty = store.run(lambda s: ops.conversations.create(s)).id
    copy = take(store, exported(store, empty))
    assert copy > empty
    assert store.run(lambda s: ops.messages.branch(s, copy)) == []


def broken(file: dict[str, Any], how: str) -> object:
    match how:
        case "no json":
            return b"hello"
        case "not utf-8":
            return b"\xff\xfe" + json.dumps(file).encode("utf-16-le")
        case "other json":
            return {"mapping": {}, "title": "ChatGPT"}
        case "a list":
            return [file]
        case "cut":
            return json.dumps(file).encode()[:-40]
        case "newer":
            return file | {"version": 2}
        case "wrong role":
            file["messages"][1]["role"] = "usr"
        case "missing field":
            del file["messages"][1]["text"]
        case "no time zone":
            file["messages"][1]["created"] = "2026-01-01T00:00:00"
        case "circle":
            file["messages"][0]["parent"] = file["messages"][2]["id"]
        case "id twice":
            file["messages"][2]["id"] = file["messages"][1]["id"]
        case "no such leaf":
            file["leaf"] = 12345
        case "no leaf":
            file["leaf"] = None
    return file


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("no json", "import_not_ours"),
        ("not utf-8", "import_not_ours"),
        ("other json", "import_not_ours"),
        ("a list", "import_not_ours"),
        ("cut", "import_not_ours"),
        ("newer", "import_newer"),
        ("wrong role", "import_damaged"),
        ("missing field", "import_damaged"),
        ("no time zone", "import_damaged"),
        ("circle", "import_damaged"),
        ("id twice", "import_damaged"),
        ("no such leaf", "import_damaged"),
        ("no leaf", "import_damaged"),
    ],
)
def test_a_bad_file_is_told_in_words_and_changes_nothing(store: Store, chat: int, how: str, code: str) -> None:
    file = broken(exported(store, chat), how)
    with pytest.raises(UserError) as told:
        take(store, file)
    assert told.value.code == code
    assert "nothing was imported" in str(told.value)
    assert len(store.run(lambda s: ops.conversations.recent(s))) == 1


def test_markdown_shows_the_branch_in_view_with_folded_thinking(
    store: Store, chat: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translation, "_language", "en")
    assert store.run(lambda s: ops.transfer.to_markdown(s, chat)) == (
        "# 鸭梨 and pears\n\n## System prompt\n\nBe brief.\n\n## User\n\nwhich pear? 鸭梨\n\n## starter\n\n"
        "<details>\n<summary>Thinking</summary>\n\nhm, pears\n\n</details>\n\n**This** one.\n"
    )
    translation.use("zh")
    assert "## 系统提示词" in store.run(lambda s: ops.transfer.to_markdown(s, chat))
