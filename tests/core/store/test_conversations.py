"""The list of conversations, as the user sees and changes it."""

from __future__ import annotations

import pytest

from core import store as ops
from core.chat.turns import Sampling
from core.errors import UserError
from core.store.store import Store


def titles(store: Store, query: str = "", limit: int = 50) -> list[str]:
    return [c.title for c in store.run(lambda s: ops.conversations.recent(s, limit, query))]


def made(store: Store, title: str = "", first: str = "") -> int:
    conversation_id = store.run(lambda s: ops.conversations.create(s, title)).id
    if first:
        store.run(lambda s: ops.messages.append(s, conversation_id, "user", first, parent_id=None))
    return conversation_id


def test_the_list_is_newest_first_with_pinned_ones_above(store: Store) -> None:
    first, second, third = made(store, "first"), made(store, "second"), made(store, "third")
    assert titles(store) == ["third", "second", "first"]
    store.run(lambda s: ops.messages.append(s, second, "user", "again", parent_id=None))
    assert titles(store) == ["second", "third", "first"]
    store.run(lambda s: ops.conversations.pin(s, first, True))
    assert titles(store) == ["first", "second", "third"]
    assert titles(store, limit=2) == ["first", "second"]
    store.run(lambda s: ops.conversations.pin(s, first, False))
    assert titles(store) == ["second", "third", "first"]
    assert third


def test_the_title_is_the_first_line_of_the_first_message_until_renamed(store: Store) -> None:
    chat = made(store, first="\n  # Plan   for Monday\nand more")
    assert titles(store) == ["# Plan for Monday"]
    store.run(lambda s: ops.messages.append(s, chat, "user", "second message", parent_id=None))
    assert titles(store) == ["# Plan for Monday"]
    store.run(lambda s: ops.conversations.rename(s, chat, " Mine "))
    assert titles(store) == ["Mine"]
    store.run(lambda s: ops.conversations.rename(s, chat, "  "))
    assert titles(store) == ["# Plan for Monday"]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("short", "short"),
        ("word " * 30, "word word word word word word word word word word word word…"),
        ("中" * 80, "中" * 59 + "…"),
        ("", ""),
    ],
)
def test_long_titles_are_shortened_at_a_word_where_there_is_one(text: str, title: str) -> None:
    assert ops.conversations.first_line(text) == title


def test_the_preview_is_the_last_message_in_view_without_its_marks(store: Store) -> None:
    chat = made(store, first="question")
    store.run(lambda s: ops.messages.append(s, chat, "assistant", "\n## **Answer** in `code`\nmore", parent_id=1))
    (summary,) = store.run(lambda s: ops.conversations.recent(s))
    assert summary.preview == "Answer in code"


def test_a_deleted_conversation_comes_back_whole_until_the_next_start(store: Store) -> None:
    chat = made(store, first="keep the 注意力 question")
    store.run(lambda s: ops.conversations.delete(s, chat))
    assert titles(store) == []
    assert store.run(lambda s: ops.search.everything(s, "注意力")) == []
    with pytest.raises(UserError, match="deleted"):
        store.run(lambda s: ops.conversations.get(s, chat))

    store.run(lambda s: ops.conversations.restore(s, chat))
    assert titles(store) == ["keep the 注意力 question"]
    assert len(store.run(lambda s: ops.messages.branch(s, chat))) == 1

    store.run(lambda s: ops.conversations.delete(s, chat))
    assert store.run(lambda s: ops.conversations.purge(s)) == 1
    with pytest.raises(UserError):
        store.run(lambda s: ops.conversations.restore(s, chat))
    for table in ("messages", "message_search", "title_search"):
        count = f"SELECT count(*) FROM {table}"
        assert store.run(lambda s, count=count: s.connection().exec_driver_sql(count).scalar()) == 0


def test_an_id_never_comes_again_after_a_purge(store: Store) -> None:
    gone = made(store, first="one")
    store.run(lambda s: ops.conversations.delete(s, gone))
    store.run(lambda s: ops.conversations.purge(s))
    assert made(store, first="two") > gone
    assert store.run(lambda s: ops.messages.branch(s, gone + 1))[0].id == 2


def test_settings_and_draft_are_kept_and_only_what_is_given_changes(store: Store) -> None:
    chat = made(store)
    hot = Sampling(temperature=1.5, seed=7, stop=("END",))
    store.run(lambda s: ops.conversations.configure(s, chat, model="starter", sampling=hot, thinking=False))
    store.run(lambda s: ops.conversations.configure(s, chat, system_prompt="Be brief.", preset="creative"))
    store.run(lambda s: ops.conversations.save_draft(s, chat, "half a thou"))
    found = store.run(lambda s: ops.conversations.get(s, chat))
    assert (found.model, found.sampling, found.thinking) == ("starter", hot, False)
    assert (found.system_prompt, found.preset, found.draft) == ("Be brief.", "creative", "half a thou")
    store.run(lambda s: ops.conversations.configure(s, chat, thinking=None))
    assert store.run(lambda s: ops.conversations.get(s, chat)).thinking is None


def test_the_list_can_be_filtered_by_words_of_titles_and_messages(store: Store) -> None:
    made(store, "Shopping list", first="apples and 鸭梨")
    made(store, first="Explain attention")
    assert titles(store, "shop") == ["Shopping list"]
    assert titles(store, "鸭梨") == ["Shopping list"]
    assert titles(store, "attention") == ["Explain attention"]
    assert titles(store, "nothing of it") == []
    assert titles(store, '"*') == []
    assert titles(store, "  ") == ["Explain attention", "Shopping list"]


def test_half_a_surrogate_pair_from_a_paste_is_stored(store: Store) -> None:
    chat = made(store, first="broken \ud83d emoji")
    assert store.run(lambda s: ops.messages.branch(s, chat))[0].text == "broken ? emoji"
    assert len(store.run(lambda s: ops.search.everything(s, "emoji"))) == 2
