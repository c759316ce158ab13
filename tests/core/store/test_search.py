"""Search as people type it: English by the beginning of words, Chinese by any part, and no input is an error."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import store as ops
from core.store.store import Store

TEXTS = (
    "The Transformer uses self-attention; café naïve",
    "人工智能模型的训练需要大量数据",
    "用GPT-4o写一个Python脚本 foo_bar(x)",
    "小猫",
    "ひらがなとカタカナ, 한국어도 됩니다",
    "𠮷野家",
    "C++ and C# — «quotes» \"double\" 'single'",
)


@pytest.fixture
def filled(store: Store) -> Store:
    def fill(s: object) -> None:
        chat = ops.conversations.create(s, "t").id  # type: ignore[arg-type]
        for text in TEXTS:
            ops.messages.append(s, chat, "user", text, parent_id=None)  # type: ignore[arg-type]

    store.run(fill)
    return store


def found(store: Store, query: str) -> set[int]:
    """Places in TEXTS of the messages found."""
    return {h.message_id - 1 for h in store.run(lambda s: ops.search.everything(s, query)) if h.message_id}


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ("transformer", {0}),
        ("trans", {0}),
        ("former", set()),
        ("attention uses", {0}),
        ("attention python", set()),
        ("cafe", {0}),
        ("模型", {1}),
        ("智能模型", {1}),
        ("型模", set()),
        ("能", {1}),
        ("据", {1}),
        ("猫", {3}),
        ("小", {3}),
        ("gpt-4o 脚本", {2}),
        ("写一个Python", {2}),
        ("ＧＰＴ", {2}),
        ("foo_bar", {2}),
        ("カタ", {4}),
        ("한국", {4}),
        ("𠮷野", {5}),
        ("𠮷", {5}),
        ("double", {6}),
        ("c++", {6}),
    ],
)
def test_words_and_characters_are_found(filled: Store, query: str, places: set[int]) -> None:
    assert found(filled, query) == places


@pytest.mark.parametrize(
    "query",
    [
        '"',
        '"unclosed',
        "*",
        "-",
        "-attention",
        "NEAR",
        "NEAR(a b)",
        "a AND",
        "OR",
        "NOT",
        "words:x",
        "^a",
        "🙂",
        "(",
        "\0",
        "\ud800",
        "', --",
    ],
)
def test_nothing_that_is_typed_is_an_error(filled: Store, query: str) -> None:
    found(filled, query)
    filled.run(lambda s: ops.conversations.recent(s, query=query))


def test_operators_are_plain_words(filled: Store) -> None:
    assert found(filled, "attention AND self") == set()
    assert found(filled, "and") == {6}
    assert found(filled, "x" * 100_000) == set()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1, max_size=40))
def test_any_text_that_holds_a_letter_finds_itself(store: Store, text: str) -> None:
    chat = store.run(lambda s: ops.conversations.create(s)).id
    message = store.run(lambda s: ops.messages.append(s, chat, "user", text, parent_id=None)).id
    hits = store.run(lambda s: ops.search.everything(s, text, 10_000))
    has_word = any("a" <= c.lower() <= "z" or "一" <= c <= "龥" for c in text)
    assert message in {h.message_id for h in hits} or not has_word


def test_a_hit_shows_the_line_around_the_match_marked(filled: Store) -> None:
    text = "begin " * 30 + "the Attention\nhead attends " + "end " * 60
    filled.run(lambda s: ops.messages.append(s, 1, "user", text, parent_id=None))
    (hit,) = filled.run(lambda s: ops.search.everything(s, "attention head"))
    assert "\x02Attention\x03 \x02head\x03 attends" in hit.snippet
    assert hit.snippet.startswith("…") and hit.snippet.endswith("…")
    assert len(hit.snippet) < 160
    (hit,) = filled.run(lambda s: ops.search.everything(s, "智能模型"))
    assert hit.snippet == "人工\x02智能模型\x03的训练需要大量数据"


def test_titles_come_first_and_follow_a_rename(filled: Store) -> None:
    chat = filled.run(lambda s: ops.conversations.create(s, "关于猫 and transformers")).id
    first = filled.run(lambda s: ops.search.everything(s, "transformer"))[0]
    assert (first.conversation_id, first.message_id) == (chat, None)
    assert first.snippet == "关于猫 and \x02transformer\x03s"
    filled.run(lambda s: ops.conversations.rename(s, chat, "dogs"))
    assert all(h.message_id for h in filled.run(lambda s: ops.search.everything(s, "transformer")))


def test_a_search_shows_at_most_what_is_asked_newest_first(store: Store) -> None:
    chat = store.run(lambda s: ops.conversations.create(s, "word")).id
    for i in range(5):
        store.run(lambda s, i=i: ops.messages.append(s, chat, "user", f"word {i}", parent_id=None))
    hits = store.run(lambda s: ops.search.everything(s, "word", limit=3))
    assert [h.message_id for h in hits] == [None, 5, 4]
