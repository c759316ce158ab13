"""Streamed Markdown ends as the same blocks as the whole text, however it was cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.ui.transcript import growing
from app.ui.transcript.grammar import parser
from app.ui.transcript.growing import Code, Growing, Prose
from tests.helpers.replies import NASTY

PIECES = [
    *("a", "word ", "文字", "**", "*", "_", "`", "```", "```py\n", "~~~\n", "\n", "\n\n", "- ", "1. ", "2) ", "    "),
    *("> ", "# ", "---", "===", "\n---\n", "|", "a|b\n-|-\n", "[a]", "[a]: /u\n", "[a]: http://x 'ti\n", "'", "\\"),
    *(
        "$",
        "$$",
        "$$\n",
        "\\[",
        "\\]",
        "\\(",
        "\\)",
        "<b>",
        "&amp;",
        "\r\n",
        "\t",
        "![i](u)",
        "[l](v)",
        "+ c",
        ":",
        " ",
    ),
]


def flat(tokens: Any) -> list[tuple[Any, ...]]:
    return [
        (t.type, t.tag, t.content, t.info, tuple(sorted(t.attrs.items())), tuple(flat(t.children or [])))
        for t in tokens
    ]


def whole(source: str) -> list[tuple[Any, ...]]:
    """One parse of everything, code blocks of the top level as the widgets see them."""
    result: list[tuple[Any, ...]] = []
    for token, one in zip(tokens := parser().parse(source, {}), flat(tokens), strict=True):
        is_code = token.level == 0 and token.type in ("fence", "code_block")
        result.append(("code", token.info.strip().split(" ")[0], token.content.rstrip("\n")) if is_code else one)
    return result


def streamed(source: str, cuts: list[int]) -> list[tuple[Any, ...]]:
    text = Growing()
    for start, end in zip([0, *cuts], [*cuts, len(source)], strict=True):
        text.feed(source[start:end])
        text.advance()
    text.finish()
    result: list[tuple[Any, ...]] = []
    for block in text.blocks:
        match block:
            case Code():
                result.append(("code", block.language, block.text))
            case Prose(continues=True):
                result.pop()  # the end of the list that goes on
                result += flat(block.parsed())[1:]
            case Prose():
                result += flat(block.parsed())
    return result


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30), st.data())
def test_any_text_cut_anywhere_ends_as_its_one_parse(pieces: list[str], data: st.DataObject) -> None:
    source = "".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(source)), max_size=40)))
    long_list = growing.LONG_LIST
    growing.LONG_LIST = 30
    try:
        assert streamed(source, cuts) == whole(source)
    finally:
        growing.LONG_LIST = long_list


@pytest.mark.parametrize("step", [1, 3, 50])
@pytest.mark.parametrize("name", NASTY)
def test_hard_texts_in_small_pieces(name: str, step: int) -> None:
    source = NASTY[name]
    assert streamed(source, list(range(step, len(source), step))) == whole(source)


def test_a_hundred_kilobytes_of_one_paragraph() -> None:
    source = "Plain words with **bold** and `code` for a very long while. " * 1700
    assert streamed(source, list(range(3_000, len(source), 3_000))) == whole(source)


@pytest.mark.parametrize(
    ("start", "line"),
    [("", "Words without any markup, more and more of them. "), ("```python\n", "print('a line of code')\n")],
    ids=["paragraph", "fence"],
)
def test_plain_growth_is_appended_and_not_parsed_again(start: str, line: str) -> None:
    text = Growing()
    text.feed(start + line)
    text.advance()
    appended = ""
    for _ in range(1000):
        text.feed(line)
        step = text.advance()
        assert step.tail is None
        appended += step.appended
    assert len(appended) >= 999 * len(line)


def test_frozen_blocks_are_never_given_again() -> None:
    text = Growing()
    frozen = 0
    for paragraph in range(50):
        text.feed(f"Paragraph {paragraph}.\n\n")
        step = text.advance()
        frozen += len(step.frozen)
        assert step.tail is not None
        assert len(step.tail) == 1
    assert frozen == 49


def test_a_link_whose_target_comes_last_is_mended_in_the_block_that_names_it() -> None:
    text = Growing()
    text.feed("See [docs].\n\nOther words.\n\n[docs]: https://a.example\n\nend\n\n")
    text.advance()
    revised = text.finish().revised
    block = text.blocks[0]
    assert isinstance(block, Prose)
    assert any(child.type == "link_open" for child in block.parsed()[1].children or []), revised


def inline(source: str) -> list[tuple[str, str]]:
    return [(child.type, child.content) for child in parser().parse(source, {})[1].children or []]


@pytest.mark.parametrize("source", ["It costs $5 and $6.", "a $ b $ c", "$x$5", "\\$x$", "$$ $$", "open $x"])
def test_what_only_looks_like_a_formula_stays_text(source: str) -> None:
    assert all(kind != "formula" for kind, _ in inline(source))


@pytest.mark.parametrize("source", ["$x$", "\\(x\\)", "so $x$ is 5", "$$x$$ in a line", "a \\[x\\] b", "**$x$**"])
def test_formulas_within_words(source: str) -> None:
    assert ("formula", "x") in inline(source)


@pytest.mark.parametrize(
    "source", ["$$\nx\n+ y\n$$", "\\[\nx\n+ y\n\\]", "Thus:\n$$\nx\n+ y\n$$\nend", "- \\[ x\n  + y \\]"]
)
def test_formulas_on_lines_of_their_own(source: str) -> None:
    found = [token.content.split() for token in parser().parse(source, {}) if token.type == "formula_block"]
    assert found == [["x", "+", "y"]]


def test_a_blank_line_ends_what_was_no_formula() -> None:
    kinds = [token.type for token in parser().parse("$$\nx\n\ny\n", {})]
    assert kinds.count("paragraph_open") == 2


def test_chinese_words_need_no_blank_after_bold() -> None:
    assert ("text", "注意：") in inline("**注意：**后面")
    assert any(kind == "strong_open" for kind, _ in inline("**注意：**后面"))
    assert all(kind != "strong_open" for kind, _ in inline("2 ** 3 ** 4"))


def test_html_is_text() -> None:
    tokens = parser().parse("<script>alert(1)</script> <b>x</b>", {})
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert tokens[1].content == "<script>alert(1)</script> <b>x</b>"
