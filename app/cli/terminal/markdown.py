"""Blocks of Markdown as lines for a terminal, through rich.

Invariant: every word of the source is on the screen: raw HTML and formulas as they were written, targets of links after
their words; nothing but our own styles is an escape sequence.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from rich import markdown
from rich.color import ColorSystem
from rich.console import Console, ConsoleOptions, JustifyMethod, OverflowMethod, RenderableType, RenderResult
from rich.containers import Lines
from rich.padding import Padding
from rich.segment import Segment
from rich.style import Style
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme

from app.cli.terminal.text import breaks
from app.ui.transcript.growing import Block, Code

if TYPE_CHECKING:
    from markdown_it.token import Token

COLOURS = {
    "standard": ColorSystem.STANDARD,
    "256": ColorSystem.EIGHT_BIT,
    "truecolor": ColorSystem.TRUECOLOR,
    "windows": ColorSystem.WINDOWS,
}
_THEME = Theme(
    {
        "markdown.h1": "bold underline",
        "markdown.h2": "bold underline",
        "markdown.h3": "bold",
        "markdown.h4": "bold italic",
        "markdown.code": "cyan",
        "markdown.block_quote": "dim",
        "markdown.link_url": "dim",
        "markdown.item.number": "bold",
        "markdown.table.header": "bold",
        "markdown.table.border": "dim",
        "markdown.hr": "dim",
    }
)
INDENT = 2  # of code, in columns


class WideText(Text):
    """Text that is broken within Chinese too."""

    def wrap(
        self,
        console: Console,
        width: int,
        *,
        justify: JustifyMethod | None = None,
        overflow: OverflowMethod | None = None,
        tab_size: int = 8,
        no_wrap: bool | None = None,
    ) -> Lines:
        lines = Lines()
        for line in self.split(allow_blank=True):
            parts = line.divide(breaks(line.plain, width))
            for part in parts:
                part.rstrip_end(width)
            if how := justify or self.justify:
                parts.justify(console, width, justify=how, overflow="fold")
            lines.extend(parts)
        return lines


class _Paragraph(markdown.Paragraph):
    def on_enter(self, context: markdown.MarkdownContext) -> None:
        super().on_enter(context)
        self.text = WideText(justify="left")


class _Heading(markdown.Heading):
    def on_enter(self, context: markdown.MarkdownContext) -> None:
        super().on_enter(context)
        self.text = WideText()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.text


class _Cell(markdown.TableDataElement):
    def __init__(self, justify: JustifyMethod) -> None:
        super().__init__(justify)
        self.content = WideText("", justify=justify, overflow="fold")


class _Item(markdown.ListItem):
    def render_number(self, console: Console, options: ConsoleOptions, number: int, last_number: int) -> RenderResult:
        """With the dot that was written."""
        width = len(str(last_number)) + 3
        lines = console.render_lines(self.elements, options.update(width=options.max_width - width), style=self.style)
        style = console.get_style("markdown.item.number")
        for index, line in enumerate(lines):
            yield Segment(f"{number}. ".rjust(width) if index == 0 else " " * width, style)
            yield from line
            yield Segment("\n")


class _CodeBlock(markdown.CodeBlock):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield code(str(self.text).rstrip("\n"), self.lexer_name)


class _Document(markdown.Markdown):
    elements: ClassVar[dict[str, type[markdown.MarkdownElement]]] = {
        **markdown.Markdown.elements,
        "paragraph_open": _Paragraph,
        "heading_open": _Heading,
        "list_item_open": _Item,
        "td_open": _Cell,
        "th_open": _Cell,
        "fence": _CodeBlock,
        "code_block": _CodeBlock,
    }

    def __init__(self, tokens: list[Token]) -> None:
        super().__init__("", hyperlinks=False)
        self.parsed = tokens


def code(text: str, language: str, first_line: int = 1, last_line: int | None = None) -> RenderableType:
    """Coloured by its language, of the lines asked for."""
    part = (first_line, last_line) if first_line > 1 or last_line else None
    syntax = Syntax(
        text, language or "text", theme="ansi_dark", word_wrap=True, background_color="default", line_range=part
    )
    return Padding(syntax, (0, 0, 0, INDENT))


def document(block: Block, words: str = "") -> RenderableType:
    """words: what has come after it was parsed, without markup."""
    if isinstance(block, Code):
        return code(block.text + words, block.language)
    tokens = [_written(token) for token in block.parsed()]
    if block.start is not None:
        tokens[0].attrSet("start", str(block.start))
    if words:
        _append(tokens, words)
    return _Document(tokens)


def _written(token: Token) -> Token:
    """What rich would leave out or put elsewhere, as it was written; lines end where they ended."""
    token = token.copy()
    match token.type:
        case "inline":
            token.children = [_written(child) for child in token.children or [] if child.markup != "autolink"]
        case "formula":
            token.type, token.content = "text", token.info
        case "formula_block" | "formula_open":
            token.type, token.tag, token.content, token.info = "fence", "code", token.info, "latex"
        case "image":
            token.type, token.tag, token.children = "text", "", None
            token.content = f"{token.content} ({token.attrGet('src')})"
        case "softbreak":
            token.type = "hardbreak"
        case _:
            pass
    return token


def _append(tokens: list[Token], words: str) -> None:
    from markdown_it.token import Token

    last = next((token for token in reversed(tokens) if token.type == "inline"), None)
    if last is not None:
        last.children = [*(last.children or []), Token("text", "", 0, content=words)]


class Painter:
    """Renderables as lines with the colours this terminal has."""

    def __init__(self) -> None:
        self._console = Console(theme=_THEME, markup=False, emoji=False, highlight=False)
        self._colours = COLOURS.get(self._console.color_system or "")

    def lines(self, what: RenderableType, width: int) -> list[str]:
        options = self._console.options.update(width=width, height=None)
        rows = self._console.render_lines(what, options, pad=False)
        lines = [self._line(row) for row in rows]
        if isinstance(what, _Document):  # rich puts empty lines around some blocks; in code they belong to it
            while lines and not lines[-1]:
                lines.pop()
            while lines and not lines[0]:
                lines.pop(0)
        return lines

    def styled(self, text: str, style: str) -> str:
        """One line of one style."""
        return self._line([Segment(text, Style.parse(style))])

    def _line(self, row: Iterable[Segment]) -> str:
        segments: list[Segment] = list(row)
        if self._console.no_color:
            segments = list(Segment.remove_color(segments))
        while segments and not segments[-1].text.strip():
            segments.pop()
        if segments:
            last = segments[-1]
            segments[-1] = Segment(last.text.rstrip(), last.style)
        return "".join(self._painted(segment) for segment in segments)

    def _painted(self, segment: Segment) -> str:
        style: Any = segment.style
        if style is None or self._colours is None:
            return segment.text
        return str(style.render(segment.text, color_system=self._colours))
