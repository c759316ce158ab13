"""Markdown into blocks: prose as HTML for a QTextDocument, code as its own block. Parser loaded on first use."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from PySide6.QtGui import QBrush, QTextBlockFormat, QTextCursor, QTextDocument, QTextFrameFormat, QTextTable

from app.ui import theme
from app.ui.tokens import CODE_FAMILIES, TextStyle, Type

if TYPE_CHECKING:
    from markdown_it import MarkdownIt


class Prose(NamedTuple):
    html: str


class Code(NamedTuple):
    language: str
    source: str


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def blocks(source: str) -> list[Prose | Code]:
    """Split at fenced code; everything between two fences is one piece of prose."""
    parser = _parser()
    tokens = parser.parse(source)
    result: list[Prose | Code] = []
    start = 0
    for index, token in enumerate(tokens):
        if token.type == "fence" and token.level == 0:
            _add_prose(result, parser.renderer.render(tokens[start:index], parser.options, {}))
            result.append(Code(token.info.strip().split(" ")[0], token.content.rstrip("\n")))
            start = index + 1
    _add_prose(result, parser.renderer.render(tokens[start:], parser.options, {}))
    return result


def _add_prose(result: list[Prose | Code], html: str) -> None:
    if html.strip():
        result.append(Prose(html))


def line_px(style: TextStyle) -> int:
    """The line height in pixels. A fixed height keeps Latin and Chinese lines on one rhythm: their fonts differ."""
    return round(style.size * style.line * theme.state.text_scale)


def prose_css() -> str:
    """The document style sheet of prose in the present theme. Only what QTextDocument understands."""
    c = theme.colors()
    code = ", ".join(f"'{name}'" for name in CODE_FAMILIES)
    return (
        f"p, li {{ line-height: {line_px(Type.PROSE)}px; margin-top: 0; margin-bottom: 10px; }}"
        f"li {{ margin-bottom: 4px; }} ul, ol {{ margin-top: 0; margin-bottom: 10px; }}"
        f"h1, h2, h3 {{ font-weight: 600; margin-top: 14px; margin-bottom: 6px; line-height: 26px; }}"
        f"h1 {{ font-size: 19px; }} h2 {{ font-size: 17px; }} h3 {{ font-size: 15px; }}"
        f"code {{ font-family: {code}; font-size: 13px; background-color: {c.sunken}; }}"
        f"a {{ color: {c.accent_text}; text-decoration: none; }}"
        f"blockquote {{ color: {c.text_soft}; margin-left: 12px; }}"
        f"th {{ color: {c.text_muted}; font-weight: 500; text-align: left; }}"
        f"strong {{ font-weight: 600; }}"
    )


def dress_tables(document: QTextDocument) -> None:
    """Hairlines between rows instead of the boxes QTextDocument draws."""
    rhythm = QTextBlockFormat()
    rhythm.setLineHeight(line_px(Type.PROSE), QTextBlockFormat.LineHeightTypes.FixedHeight.value)
    line = QBrush(theme.color(theme.colors().border_strong))
    for frame in document.rootFrame().childFrames():
        if not isinstance(frame, QTextTable):
            continue
        look = frame.format()
        look.setBorder(0)
        look.setCellSpacing(0)
        look.setCellPadding(0)
        look.setBorderCollapse(True)
        look.setTopMargin(4)
        look.setBottomMargin(8)
        frame.setFormat(look)
        for row in range(frame.rows()):
            for column in range(frame.columns()):
                cell = frame.cellAt(row, column)
                cell_look = cell.format().toTableCellFormat()
                cell_look.setBottomBorder(1)
                cell_look.setBottomBorderStyle(QTextFrameFormat.BorderStyle.BorderStyle_Solid)
                cell_look.setBottomBorderBrush(line)
                cell_look.setTopPadding(4)
                cell_look.setBottomPadding(5)
                cell_look.setLeftPadding(0 if column == 0 else 14)
                cell_look.setRightPadding(14)
                cell.setFormat(cell_look)
                cursor = cell.firstCursorPosition()
                cursor.setPosition(cell.lastPosition(), QTextCursor.MoveMode.KeepAnchor)
                cursor.mergeBlockFormat(rhythm)


def highlight(source: str, language: str) -> list[tuple[int, int, str]]:
    """(start, length, colour) of every coloured piece of `source`; empty when the language is unknown."""
    from pygments import lex
    from pygments.lexers import get_lexer_by_name
    from pygments.token import Token
    from pygments.util import ClassNotFound

    c = theme.colors()
    tints: tuple[tuple[Any, str], ...] = (
        (Token.Comment, c.code_comment),
        (Token.Keyword, c.code_keyword),
        (Token.Operator.Word, c.code_keyword),
        (Token.Literal.String, c.code_string),
        (Token.Literal.Number, c.code_number),
        (Token.Name.Function, c.code_name),
        (Token.Name.Class, c.code_name),
        (Token.Name.Builtin, c.code_name),
        (Token.Name.Decorator, c.code_name),
    )
    try:
        lexer = get_lexer_by_name(language or "text", stripnl=False)
    except ClassNotFound:
        return []
    pieces: list[tuple[int, int, str]] = []
    place = 0
    for kind, value in lex(source, lexer):
        tint = next((tint for parent, tint in tints if kind in parent), "")
        if tint:
            pieces.append((place, len(value), tint))
        place += len(value)
    return pieces
