"""A reply's Markdown while it arrives: finished blocks are frozen, only the tail is parsed again.

Owns where the text may be cut. Invariant: after `finish()` the blocks are those of one parse of the whole text, however
it was cut into pieces on the way. Imports no Qt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from app.ui.transcript.grammar import GROWING, parser

if TYPE_CHECKING:
    from markdown_it.token import Token

LONG_TAIL = 8_000
"""Characters of one unfinished block from which its markup waits for a blank line: parsing takes 2 µs a character."""
LONG_LIST = 600
"""Characters of one list from which its finished items are frozen."""

_WORDS = re.compile(r"[^\n*_`\])~$\\>&;<]+")
_FENCE = re.compile(r"(`{3,}|~{3,})([^\n]*)\n")
_LABEL = re.compile(r"\[((?:[^\[\]\\]|\\.)+)\]")
_ENDS_PARAGRAPH = re.compile(r"\n[ \t]*\n|\n {0,3}(?:```|~~~|#{1,6} )")
_STARTS = {"fence", "hr", "bullet_list_open", "ordered_list_open", "blockquote_open"}
_ENDS = {"fence", "hr", "heading_open", "formula_block"}


@dataclass(frozen=True, slots=True)
class Prose:
    """One top-level block. `continues`: the next items of the list before it, from `start` on."""

    head: str  # the type of its first token
    tokens: list[Token]
    source: str
    links: dict[str, Any]
    continues: bool = False
    start: int | None = None

    def parsed(self) -> list[Token]:
        """Its tokens, parsed again from the source where they have been dropped."""
        return self.tokens or parser().parse(self.source, {"references": dict(self.links)})

    def light(self) -> Prose:
        """Without the tokens: some hundred objects a block that the garbage collector would walk again and again."""
        return replace(self, tokens=[])


@dataclass(frozen=True, slots=True)
class Code:
    """A code block of its own."""

    language: str
    text: str


Block = Prose | Code


class Step(NamedTuple):
    """What one `advance()` changed. `appended` goes to the end of the tail as it stands; `tail` replaces it."""

    frozen: list[Block]
    revised: dict[int, Block]
    tail: list[Block] | None
    appended: str


class _Span(NamedTuple):
    """A top-level block within the tail: its tokens and its lines."""

    tokens: list[Token]
    first: int
    last: int


@dataclass(slots=True)
class Growing:
    """Feed text, then ask `advance()` what to draw; `finish()` when the reply has ended."""

    blocks: list[Block] = field(default_factory=list)
    _tail: str = ""
    _news: list[str] = field(default_factory=list)
    _links: dict[str, Any] = field(default_factory=dict)
    _next_item: int | None = None  # the tail goes on with a list whose first items are frozen
    _end: _End = field(default_factory=lambda: _End())

    def feed(self, text: str) -> None:
        self._news.append(text)

    @property
    def is_waiting(self) -> bool:
        """Whether text has been fed that no step has taken."""
        return bool(self._news)

    def advance(self) -> Step:
        """Take what was fed. Costs the tail's length at most; plain words and lines of code cost their own."""
        new = self._take()
        appended = self._end.grow(self._tail, new)
        return Step([], {}, None, appended) if appended is not None else self._parse()

    def finish(self) -> Step:
        """Freeze everything; what comes later begins a new block."""
        self._tail += _lines("".join(self._news))
        self._news.clear()
        spans, links = self._spans(self._tail, growing=False)
        step = self._freeze(spans, len(self._tail), links)
        self._next_item = None
        return step

    def _take(self) -> str:
        """Move the news into the tail; a carriage return waits for the line feed that may follow it."""
        raw = "".join(self._news)
        self._news = ["\r"] if raw.endswith("\r") else []
        new = _lines(raw.removesuffix("\r"))
        self._tail += new
        return new

    def _parse(self) -> Step:
        spans, links = self._spans(self._tail, growing=True)
        count, offset = self._cut(spans)
        if count:
            step = self._freeze(spans[:count], offset, links)
            spans = spans[count:]
        elif (line := self._list_cut(spans)) is not None:
            step = self._freeze_items(_line_starts(self._tail)[line])
            spans, _ = self._spans(self._tail, growing=True)
        else:
            step = Step([], {}, None, "")
        tail = [self._block(span, "", index == 0) for index, span in enumerate(spans)]
        self._end = _End.of(self._tail, spans)
        if tail and isinstance(tail[-1], Code) and (code := self._end.open_code(self._tail)) is not None:
            tail[-1] = replace(tail[-1], text=code)
        return step._replace(tail=tail)

    def _spans(self, source: str, *, growing: bool) -> tuple[list[_Span], dict[str, Any]]:
        """The top-level blocks of `source`, and the link targets known with those it defines."""
        env: dict[str, Any] = {"references": dict(self._links)}
        if growing:
            env[GROWING] = True
        tokens = parser().parse(source, env)
        spans: list[_Span] = []
        start = 0
        for index, token in enumerate(tokens):
            if token.level == 0 and token.nesting <= 0 and token.type != "inline":
                first, last = tokens[start].map or (0, 0)
                spans.append(_Span(tokens[start : index + 1], first, last))
                start = index + 1
        return spans, env["references"]

    def _cut(self, spans: list[_Span]) -> tuple[int, int]:
        """How many blocks are final, and where the text after them begins."""
        starts = _line_starts(self._tail)
        for index in range(len(spans) - 1, 0, -1):
            line = spans[index].first
            if line + 1 < len(starts) and self._is_final(spans[index - 1], spans[index], starts):
                return index, starts[line]
        return 0, 0

    def _is_final(self, before: _Span, after: _Span, starts: list[int]) -> bool:
        """Whether nothing that may follow moves the border between two blocks.

        A blank line keeps it. Without one, a paragraph may turn out to be the title of a link's definition, and an
        open formula may swallow what looks like blocks.
        """
        start = starts[after.first]
        if not self._tail[starts[after.first - 1] : start].strip():
            return True
        clean = after.tokens[0].type in _STARTS or _is_heading(after.tokens[0])
        clean = clean or (after.tokens[0].type == "formula_block" and after.last < len(starts))
        clean = clean or (before.tokens[0].type in _ENDS and before.last == after.first)
        recent = re.split(r"\n[ \t]*\n", self._tail[:start])[-1]
        return clean and "$$" not in recent and "\\[" not in recent

    def _list_cut(self, spans: list[_Span]) -> int | None:
        """The line where the last item of a long list begins; None where there is nothing to cut.

        Not at a line with a bar: outside its list it could become the head of a table.
        """
        if len(self._tail) < LONG_LIST or len(spans) != 1 or not spans[0].tokens[0].type.endswith("list_open"):
            return None
        items = [token.map for token in spans[0].tokens if token.type == "list_item_open" and token.level == 1]
        lines = self._tail.split("\n")
        firsts = (place[0] for place in reversed(items[1:]) if place)
        return next((line for line in firsts if line + 1 < len(lines) and "|" not in lines[line]), None)

    def _freeze_items(self, offset: int) -> Step:
        spans, links = self._spans(self._tail[:offset], growing=False)
        first = self._next_item or int(spans[-1].tokens[0].attrGet("start") or 1)
        count = sum(token.type == "list_item_open" and token.level == 1 for token in spans[-1].tokens)
        step = self._freeze(spans, offset, links)
        self._next_item = first + count
        return step

    def _freeze(self, spans: list[_Span], offset: int, links: dict[str, Any]) -> Step:
        """Make blocks final and cut them off. Half a link's target in the open tail does not count."""
        done, self._tail = self._tail[:offset], self._tail[offset:]
        if len(links) != len(self._links):
            spans, links = self._spans(done, growing=False)
        fresh = {label for label in links if label not in self._links}
        self._links = links
        frozen = [self._block(span, done, index == 0) for index, span in enumerate(spans)]
        revised = self._revise(fresh) if fresh else {}
        self.blocks += [block.light() if isinstance(block, Prose) else block for block in frozen]
        self._next_item = None if frozen else self._next_item
        return Step(frozen, revised, [], "")

    def _revise(self, fresh: set[str]) -> dict[int, Block]:
        """Frozen blocks that name a link whose target has come only now."""
        from markdown_it.common.utils import normalizeReference

        revised: dict[int, Block] = {}
        for index, block in enumerate(self.blocks):
            if isinstance(block, Prose) and fresh & {normalizeReference(name) for name in _LABEL.findall(block.source)}:
                self.blocks[index] = revised[index] = replace(block, links=self._links)
        return revised

    def _block(self, span: _Span, source: str, is_first: bool) -> Block:
        head = span.tokens[0]
        if head.type in ("fence", "code_block"):
            return Code(head.info.strip().split(" ")[0], head.content.rstrip("\n"))
        if source:
            starts = [*_line_starts(source), len(source)]
            source = source[starts[span.first] : starts[min(span.last, len(starts) - 1)]]
        continues = is_first and self._next_item is not None and head.type.endswith("list_open")
        start = self._next_item if continues else None
        return Prose(head.type, span.tokens, source, self._links, continues, start)


@dataclass(slots=True)
class _End:
    """How the tail ends, and so what may be put after it without parsing: words after words, code in an open fence."""

    shown: int = 0
    scanned: int = 0
    is_text: bool = False
    is_words: bool = False
    is_table: bool = False
    fence: re.Pattern[str] | None = None

    @classmethod
    def of(cls, tail: str, spans: list[_Span]) -> _End:
        if not spans:
            return cls()
        fence = _FENCE.match(tail)
        if len(spans) == 1 and spans[0].tokens[0].type == "fence" and fence:
            mark = fence[1]
            closing = re.compile(rf" {{0,3}}{re.escape(mark[0])}{{{len(mark)},}}[ \t]*")
            result = cls(shown=fence.end(), scanned=fence.end(), fence=closing)
            return cls() if result._closes(tail) else result
        tokens = list(spans[-1].tokens)
        while tokens[-1].nesting < 0 and not tokens[-1].type.startswith("t"):
            tokens.pop()
        shown = tail.rstrip()
        is_text = tokens[-1].type == "inline" and any(c.isalpha() for c in tail[tail.rfind("\n") + 1 :])
        children = (tokens[-1].children or []) if is_text else []
        is_words = bool(children) and children[-1].type == "text" and children[-1].content[-1:] == shown[-1]
        is_words = is_words and _WORDS.fullmatch(shown[-1]) is not None
        return cls(shown=len(shown), is_text=is_text, is_words=is_words, is_table=tokens[-1].type == "table_close")

    def grow(self, tail: str, new: str) -> str | None:
        """What appears at the end of the tail because of `new`; None when it has to be parsed."""
        if self.fence is not None:
            return None if self._closes(tail) else self.open_code(tail)
        if self.is_table and "\n" not in new:
            return ""
        if self.is_text and len(tail) > LONG_TAIL and not _ENDS_PARAGRAPH.search(tail[-len(new) - 8 :]):
            return self._words(tail)
        return self._words(tail) if self.is_words and (not new or _WORDS.fullmatch(new)) else None

    def open_code(self, tail: str) -> str | None:
        """New code, without a line that may yet become the closing fence; None outside a fence."""
        if self.fence is None:
            return None
        end = len(tail) if tail[self.scanned :].strip(" `~") else self.scanned
        if tail[:end].endswith("\n"):
            end = max(end - 1, self.shown)
        code = tail[self.shown : end]
        self.shown = max(end, self.shown)
        return code

    def _closes(self, tail: str) -> bool:
        """Whether a complete line of the open fence closes it."""
        assert self.fence is not None
        while (end := tail.find("\n", self.scanned)) >= 0:
            if self.fence.fullmatch(tail, self.scanned, end):
                return True
            self.scanned = end + 1
        return False

    def _words(self, tail: str) -> str:
        """Blanks at the end wait, as the parser drops them."""
        end = max(len(tail.rstrip()), self.shown)
        words, self.shown = tail[self.shown : end], end
        return words


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _line_starts(text: str) -> list[int]:
    """Offsets of the lines; the last one may still be open."""
    return [0, *(match.end() for match in re.finditer("\n", text))]


def _is_heading(token: Token) -> bool:
    return token.type == "heading_open" and token.markup.startswith("#")
