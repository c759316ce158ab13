r"""The Markdown a model writes: CommonMark, tables, strikethrough, and formulas in `$`, `$$`, `\(` and `\[`.

Owns the parser and our own rules in it. Invariant: raw HTML is text, and a formula never spans a blank line, so a blank
line at the top level always ends what stands before it. Imports no Qt; markdown-it is loaded by the first `parser()`.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline

GROWING = "growing"
"""Key of the parser's environment: the text is not complete, an open formula at its end is one in the making."""

_CLOSER = {"$$": "$$", "\\[": "\\]"}
_INTERRUPTS = ["paragraph", "reference", "blockquote", "list"]


@lru_cache(maxsize=1)
def parser() -> MarkdownIt:
    """The one parser. Its first call imports markdown-it (about 60 ms), so never before the first paint."""
    from markdown_it import MarkdownIt

    result = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    result.inline.ruler.before("escape", "formula", _inline_formula)
    result.inline.ruler.at("emphasis", _emphasis)
    result.block.ruler.before("fence", "formula", _block_formula, {"alt": _INTERRUPTS})
    return result


def _inline_formula(state: StateInline, silent: bool) -> bool:
    """`$x$` as Pandoc reads it (so that prices stay prices), and the three that cannot be mistaken."""
    source, start = state.src, state.pos
    mark = source[start : start + 2]
    if mark in ("$$", "\\(", "\\["):
        body = start + 2
        end = source.find({"$$": "$$", "\\(": "\\)", "\\[": "\\]"}[mark], body, state.posMax)
        after = end + 2
    elif mark[:1] == "$":
        mark, body = "$", start + 1
        end = _closing_dollar(source, body, state.posMax)
        after = end + 1
    else:
        return False
    if end < 0 or not source[body:end].strip():
        return False
    if not silent:
        token = state.push("formula", "", 0)
        token.content, token.markup = source[body:end].strip(), mark
        token.info = source[start:after]
    state.pos = after
    return True


def _closing_dollar(source: str, body: int, stop: int) -> int:
    r"""Where `$...` ends: no blank inside the marks, no digit after them, `\$` does not count; -1 if nowhere."""
    if source[body : body + 1].isspace():
        return -1
    end = source.find("$", body, stop)
    while end > 0 and source[end - 1] == "\\":
        end = source.find("$", end + 1, stop)
    if end <= body or source[end - 1].isspace() or source[end + 1 : end + 2].isdigit():
        return -1
    return end


def _block_formula(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A formula on lines of its own, up to the closing mark at a line's end; a blank line means it was none."""
    first = state.src[state.bMarks[start] + state.tShift[start] : state.eMarks[start]]
    closer = _CLOSER.get(first[:2])
    if closer is None or state.is_code_block(start):
        return False
    lines = [first[2:]]
    line = start
    while closer not in lines[-1]:
        line += 1
        if line >= end or state.isEmpty(line) or state.sCount[line] < state.blkIndent:
            break
        lines.append(state.getLines(line, line + 1, state.blkIndent, False))
    closed = lines[-1].rstrip().endswith(closer) and lines[-1].index(closer) == len(lines[-1].rstrip()) - 2
    growing = line >= state.lineMax and state.level == 0 and GROWING in state.env
    if not closed and not growing:
        return False
    body = "\n".join(lines).rstrip()
    body = (body[:-2] if closed else body).strip()
    if closed and not body:
        return False
    if not silent:
        token = state.push("formula_block" if closed else "formula_open", "", 0)
        token.content, token.markup, token.map = body, first[:2], [start, line + 1]
        token.block = True
        token.info = f"{first[:2]}\n{body}\n{closer}"
        state.line = line + 1
    return True


def _emphasis(state: StateInline, silent: bool) -> bool:
    """CommonMark's `*` and `_`, except that a Chinese or Japanese neighbour counts as a word boundary.

    The plain rule leaves the asterisks of `**注意：**后面` on screen, because no blank follows them:
    https://github.com/commonmark/commonmark-spec/issues/650
    """
    from markdown_it.rules_inline.state_inline import Delimiter

    marker = state.src[state.pos]
    if silent or marker not in "*_":
        return False
    length = 1
    while state.src[state.pos + length : state.pos + length + 1] == marker:
        length += 1
    before = state.src[state.pos - 1] if state.pos else " "
    after = state.src[state.pos + length] if state.pos + length < state.posMax else " "
    opens, closes = _flanking(before, after, marker)
    for _ in range(length):
        token = state.push("text", "", 0)
        token.content = marker
        place = len(state.tokens) - 1
        state.delimiters.append(
            Delimiter(marker=ord(marker), length=length, token=place, end=-1, open=opens, close=closes)
        )
    state.pos += length
    return True


def _flanking(before: str, after: str, marker: str) -> tuple[bool, bool]:
    """Whether a run between two characters may open and may close."""
    mark_before, mark_after = _is_mark(before), _is_mark(after)
    cjk = marker == "*" and (_is_cjk(before) or _is_cjk(after))
    left = not after.isspace() and (not mark_after or before.isspace() or mark_before or cjk)
    right = not before.isspace() and (not mark_before or after.isspace() or mark_after or cjk)
    if marker == "*":
        return left, right
    return left and (not right or mark_before), right and (not left or mark_after)


@lru_cache(maxsize=4096)
def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


_CJK = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]")


def _is_cjk(character: str) -> bool:
    return _CJK.match(character) is not None
