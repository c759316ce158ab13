"""Markdown into a QTextDocument: the parser's tokens, written with a cursor, in the look of the tokens.

Owns how prose looks. Invariant: nothing in the text becomes markup of Qt's (no HTML is made), and blocks are only ever
written at the end, so a document is the same whether its blocks came one by one or at once.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import (
    QFontMetrics,
    QImage,
    QPainter,
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextFormat,
    QTextImageFormat,
)

from app.ui import theme
from app.ui.tokens import CODE_FAMILIES, Colors, Size, TextStyle, Type
from app.ui.transcript.formulas import Picture, Wanted, formulas
from app.ui.widgets.markdown_table import TableWriter

if TYPE_CHECKING:
    from markdown_it.token import Token

    from app.ui.transcript.growing import Prose

SOURCE = QTextFormat.Property.UserProperty + 1
QUOTE = QTextFormat.Property.UserProperty + 2
RULE = QTextFormat.Property.UserProperty + 3
MARK = QTextFormat.Property.UserProperty + 4
"""Properties of ours: the LaTeX of a formula, the depth of a quotation, a ruler across, what stands before an item."""

BULLETS = ("•", "◦", "▪")
OPEN_TASK, DONE_TASK = "☐", "☑"

INDENT = 24
BREAK = "\u2028"
SAFE = ("http://", "https://", "mailto:")
_URL = re.compile(r"https?://[^\s<>\"'（）【】《》，。；：！？、]+[^\s<>\"'（）【】《》，。；：！？、.,;:!?)\]*]")
_HEADING = {"h1": TextStyle(19, 600, 1.4), "h2": TextStyle(17, 600, 1.4)}
_TASK = re.compile(r"\[([ xX])\] +")


def line_px(style: TextStyle) -> int:
    """The line height in pixels. A fixed height keeps Latin and Chinese lines on one rhythm: their fonts differ."""
    return round(style.size * style.line * theme.state.text_scale)


def gap(before: str, kind: str) -> int:
    """Pixels between two blocks, by their kinds (`Writer.last`); "" is the edge of the text."""
    if not before:
        return 0
    if before == "heading":
        return 6
    if kind == "heading":
        return 16
    if before in ("table", "rule"):
        return 14
    return {"item": 4 if before == "item" else 8, "table": 4}.get(kind, 10)


def kind_of(block: Prose) -> str:
    """The kind of a block's first paragraph, as `Writer.last` names it."""
    head = block.head
    if head.endswith("list_open"):
        return "item"
    kinds = {"heading_open": "heading", "table_open": "table", "hr": "rule"}
    return kinds.get(head, "formula" if head.startswith("formula") else "paragraph")


class Formats(NamedTuple):
    """The character formats of one look."""

    plain: QTextCharFormat
    code: QTextCharFormat
    link: QTextCharFormat
    quote: QTextCharFormat
    muted: QTextCharFormat


@lru_cache(maxsize=8)
def formats(c: Colors, scale: float) -> Formats:
    """Made once per theme and text size."""
    code, link, quote, muted = (QTextCharFormat() for _ in range(4))
    code.setFontFamilies(list(CODE_FAMILIES))
    code.setProperty(QTextFormat.Property.FontPixelSize, round(Type.CODE.size * scale))
    code.setBackground(theme.color(c.sunken))
    link.setForeground(theme.color(c.accent_text))
    quote.setForeground(theme.color(c.text_soft))
    muted.setForeground(theme.color(c.text_muted))
    return Formats(QTextCharFormat(), code, link, quote, muted)


class _Undrawn(NamedTuple):
    """A formula that stands as its source until its picture is there."""

    wanted: Wanted
    place: QTextCursor
    source: str


class Writer:
    """Writes blocks at the end of one document. `last` is the kind of the last block, "" while there is none."""

    def __init__(self, document: QTextDocument, ratio: float) -> None:
        self.last = ""
        self._undrawn: list[_Undrawn] = []
        self.has_marks = False
        self._document = document
        self._ratio = ratio
        self._formats = formats(theme.colors(), theme.state.text_scale)
        self._cursor = QTextCursor(document)
        self._fresh = True
        self._lists: list[int | None] = []  # the next number of each open list, None for bullets
        self._item_opens = False
        self._quotes = 0
        document.setIndentWidth(INDENT)

    def write(self, block: Prose) -> None:
        """Put one block at the end."""
        if block.continues:
            self.last = "item"
        self._cursor.movePosition(QTextCursor.MoveOperation.End)
        self._cursor.beginEditBlock()  # laid out once, not after every word
        self._write(block)
        self._cursor.endEditBlock()

    def _write(self, block: Prose) -> None:
        tokens = block.parsed()
        index = 0
        while index < len(tokens):
            token = tokens[index]
            if token.type == "table_open":
                end = next(i for i in range(index, len(tokens)) if tokens[i].type == "table_close")
                self._table(tokens[index : end + 1])
                index = end
            else:
                self._token(token, tokens[index - 1] if index else None, block.start)
            index += 1

    def append_words(self, words: str) -> None:
        """Make the last paragraph longer, without markup."""
        self._cursor.movePosition(QTextCursor.MoveOperation.End)
        self._cursor.insertText(words.replace("\n", BREAK), self._base())

    def _token(self, token: Token, before: Token | None, start: int | None) -> None:
        match token.type:
            case "bullet_list_open" | "ordered_list_open":
                self._open_list(token, start if not self._lists else None)
            case "bullet_list_close" | "ordered_list_close":
                self._lists.pop()
                self._item_opens = False
            case "list_item_open":
                self._item_opens = True
            case "list_item_close" if self._item_opens:
                self._start_block("item", Type.PROSE)  # an empty item still shows its mark
            case "blockquote_open":
                self._quotes += 1
            case "blockquote_close":
                self._quotes -= 1
            case "inline":
                self._paragraph(token, before)
            case "fence" | "code_block":
                self._start_block("code", Type.CODE, code=True)
                self._cursor.insertText(token.content.rstrip("\n").replace("\n", BREAK), self._formats.code)
            case "formula_block":
                self._start_block("formula", Type.PROSE, tall=True)
                self._centre()
                self._formula(token.content, token.info, True, self._base())
            case "formula_open":
                self._start_block("formula", Type.PROSE)
                self._cursor.insertText(token.content.replace("\n", BREAK), self._formats.code)
            case "hr":
                self._ruler()
            case _:
                pass

    def _open_list(self, token: Token, start: int | None) -> None:
        first = start if start is not None else int(token.attrGet("start") or 1)
        self._lists.append(first if token.type == "ordered_list_open" else None)

    def _paragraph(self, token: Token, before: Token | None) -> None:
        children = token.children or []
        tall = any(child.type == "formula" for child in children)
        if before is not None and before.type == "heading_open":
            style = _HEADING.get(before.tag, Type.HEADING)
            self._start_block("heading", style, tall=tall)
            base = QTextCharFormat()
            base.setFontWeight(style.weight)
            base.setProperty(QTextFormat.Property.FontPixelSize, round(style.size * theme.state.text_scale))
        else:
            self._start_block("item" if self._item_opens else "paragraph", Type.PROSE, tall=tall)
            base = self._base()
        self.inline(children, base)

    def _base(self) -> QTextCharFormat:
        return self._formats.quote if self._quotes else self._formats.plain

    def _start_block(self, kind: str, style: TextStyle, *, tall: bool = False, code: bool = False) -> None:
        """Begin a paragraph. `tall` lets lines grow with a formula; the first paragraph of an item takes its mark."""
        look = QTextBlockFormat()
        heights = QTextBlockFormat.LineHeightTypes
        look.setLineHeight(line_px(style), (heights.MinimumHeight if tall else heights.FixedHeight).value)
        look.setTopMargin(gap(self.last, kind))
        if self._quotes:
            look.setLeftMargin(14 * self._quotes)
            look.setProperty(QUOTE, self._quotes)
            self.has_marks = True
        if code:
            look.setBackground(theme.color(theme.colors().sunken))
        look.setIndent(len(self._lists))
        if self._lists and self._item_opens:
            look.setProperty(MARK, self._next_mark())
            self.has_marks = True
        self._insert(look)
        self.last = kind
        self._item_opens = False

    def _insert(self, look: QTextBlockFormat) -> None:
        if self._fresh:
            self._cursor.setBlockFormat(look)
            self._cursor.setBlockCharFormat(self._base())
        else:
            self._cursor.insertBlock(look, self._base())
        self._fresh = False

    def _next_mark(self) -> str:
        number = self._lists[-1]
        if number is None:
            return BULLETS[(len(self._lists) - 1) % len(BULLETS)]
        self._lists[-1] = number + 1
        return f"{number}."

    def _centre(self) -> None:
        look = QTextBlockFormat()
        look.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self._cursor.mergeBlockFormat(look)

    def _ruler(self) -> None:
        self._start_block("rule", TextStyle(4, 400, 1.0))
        look = QTextBlockFormat()
        look.setProperty(RULE, True)
        self._cursor.mergeBlockFormat(look)
        self.has_marks = True

    def _table(self, tokens: list[Token]) -> None:
        TableWriter(self, self._cursor, gap(self.last, "table"), INDENT * len(self._lists)).write(tokens)
        self._cursor.movePosition(QTextCursor.MoveOperation.End)
        self.last, self._fresh, self._item_opens = "table", True, False

    def inline(self, children: list[Token], base: QTextCharFormat) -> None:
        """Write running text at the cursor; `base` is the format outside of any markup."""
        stack = [base]
        if children and children[0].type == "text" and self._lists and self.last == "item":
            children = self._task(children)
        for child in children:
            look = stack[-1]
            match child.type:
                case "text":
                    self._words(child.content, look)
                case "softbreak" | "hardbreak":
                    self._cursor.insertText(BREAK, look)
                case "code_inline":
                    self._cursor.insertText(child.content, _merged(look, self._formats.code))
                case "formula":
                    self._formula(child.content, child.info, child.markup in ("$$", "\\["), look)
                case "image":
                    href = str(child.attrGet("src") or "")
                    self._cursor.insertText(child.content or href, self._linked(look, href))
                case _ if child.nesting == 1:
                    stack.append(self._opened(child, look))
                case _ if child.nesting == -1:
                    stack.pop()
                case _:
                    self._cursor.insertText(child.content, look)

    def _task(self, children: list[Token]) -> list[Token]:
        """`- [x] done`: the box of a task list in place of the bullet."""
        match = _TASK.match(children[0].content)
        if match is None:
            return children
        look = QTextBlockFormat()
        look.setProperty(MARK, OPEN_TASK if match[1] == " " else DONE_TASK)
        self._cursor.mergeBlockFormat(look)
        return [children[0].copy(content=children[0].content[match.end() :]), *children[1:]]

    def _opened(self, token: Token, look: QTextCharFormat) -> QTextCharFormat:
        result = QTextCharFormat(look)
        match token.type:
            case "strong_open":
                result.setFontWeight(600)
            case "em_open":
                result.setFontItalic(True)
            case "s_open":
                result.setFontStrikeOut(True)
            case "link_open":
                return self._linked(look, str(token.attrGet("href") or ""))
            case _:
                pass
        return result

    def _linked(self, look: QTextCharFormat, href: str) -> QTextCharFormat:
        """Only to the web and to mail; the address is shown before it is opened."""
        if not href.lower().startswith(SAFE):
            return look
        result = _merged(look, self._formats.link)
        result.setAnchor(True)
        result.setAnchorHref(href)
        result.setToolTip(href)
        return result

    def _words(self, words: str, look: QTextCharFormat) -> None:
        place = 0
        if "://" in words and not look.isAnchor():
            for match in _URL.finditer(words):
                self._cursor.insertText(words[place : match.start()], look)
                self._cursor.insertText(match[0], self._linked(look, match[0]))
                place = match.end()
        self._cursor.insertText(words[place:], look)

    def _formula(self, latex: str, source: str, display: bool, look: QTextCharFormat) -> None:
        size = round(Type.PROSE.size * theme.state.text_scale) + (1 if display else 0)
        tint = theme.colors().text_soft if self._quotes else theme.colors().text
        wanted = Wanted(latex, display, size, tint, self._ratio)
        picture, is_coming = formulas.ask(wanted)
        if picture is not None:
            self._insert_picture(self._cursor, picture, source)
            return
        start = self._cursor.position()
        self._cursor.insertText(source.replace("\n", BREAK), _merged(look, self._formats.code))
        if is_coming:
            place = QTextCursor(self._document)
            place.setPosition(start)
            place.setPosition(self._cursor.position(), QTextCursor.MoveMode.KeepAnchor)
            place.setKeepPositionOnInsert(True)
            self._undrawn.append(_Undrawn(wanted, place, source))

    @property
    def has_news(self) -> bool:
        """Whether a formula that stands as its source can be drawn by now, or is known to be broken."""
        return any(not formulas.is_pending(one.wanted) for one in self._undrawn)

    def draw_formulas(self) -> None:
        """Put the pictures that are ready in the places of their sources; a broken formula keeps its source."""
        waiting, self._undrawn = self._undrawn, []
        for one in waiting:
            picture, is_coming = formulas.ask(one.wanted)
            if picture is not None:
                one.place.removeSelectedText()
                self._insert_picture(one.place, picture, one.source)
            elif is_coming:
                self._undrawn.append(one)

    def _insert_picture(self, cursor: QTextCursor, picture: Picture, source: str) -> None:
        """On the baseline: Qt centres an inline image on half the x height, so it gets blank rows above or below."""
        font = self._document.defaultFont()
        middle = QFontMetrics(font).xHeight() / 2
        below = picture.height - picture.baseline
        height = max(2 * picture.baseline - middle, 2 * below + middle)
        top = (height + middle) / 2 - picture.baseline
        canvas = QImage(picture.image.width(), round(height * self._ratio), QImage.Format.Format_ARGB32_Premultiplied)
        canvas.fill(0)
        painter = QPainter(canvas)
        painter.drawImage(0, round(top * self._ratio), _plain(picture.image))
        painter.end()
        name = f"formula:{self._document.characterCount()}:{id(canvas)}"
        self._document.addResource(QTextDocument.ResourceType.ImageResource.value, QUrl(name), canvas)
        look = QTextImageFormat()
        look.setName(name)
        room = self._document.textWidth() if self._document.textWidth() > 0 else Size.READING
        share = min(1.0, (room - 2) / picture.width)  # one that is too wide is made smaller, not cut
        look.setWidth(picture.width * share)
        look.setHeight(height * share)
        look.setFont(font)
        look.setVerticalAlignment(QTextCharFormat.VerticalAlignment.AlignMiddle)
        look.setProperty(SOURCE, source)
        look.setToolTip(source)
        cursor.insertImage(look)


def _plain(image: QImage) -> QImage:
    """The same pixels, counted one by one."""
    result = image.copy()
    result.setDevicePixelRatio(1.0)
    return result


def _merged(under: QTextCharFormat, over: QTextCharFormat) -> QTextCharFormat:
    result = QTextCharFormat(under)
    result.merge(over)
    return result
