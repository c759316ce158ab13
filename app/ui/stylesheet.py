"""The generated style sheet: only what stock Qt widgets need. Our own widgets paint themselves from tokens.

Select by class and by the dynamic properties `tone` and `ground`; no object names, no per-page rules.
"""

from __future__ import annotations

from app.ui.tokens import Colors, Radius, Size, Space, TextStyle, Type


def build(c: Colors, scale: float = 1.0) -> str:
    """The style sheet of the whole application for one set of colours."""
    return "\n".join((_grounds(c), _labels(c, scale), _fields(c), _menus(c), _views(c, scale), _scrollbars(c)))


def _text(style: TextStyle, scale: float) -> str:
    return f"font-size: {max(11, round(style.size * scale))}px; font-weight: {style.weight};"


def _grounds(c: Colors) -> str:
    names = ("canvas", "sidebar", "surface", "raised", "sunken")
    rules = [f'QWidget[ground="{name}"] {{ background: {getattr(c, name)}; }}' for name in names]
    rules.append(
        f"QToolTip {{ background: {c.raised}; color: {c.text}; border: 1px solid {c.border_strong};"
        f" padding: {Space.XS}px {Space.S}px; }}"
        "QSplitter::handle { background: transparent; }"
        'QStackedWidget, QScrollArea, QScrollArea > QWidget > QWidget[ground="none"] { background: transparent; }'
    )
    return "\n".join(rules)


def _labels(c: Colors, scale: float) -> str:
    tones = {
        "soft": c.text_soft,
        "muted": c.text_muted,
        "accent": c.accent_text,
        "ok": c.ok,
        "warn": c.warn,
        "bad": c.bad,
    }
    styles = {
        "caption": Type.CAPTION,
        "caption-strong": Type.CAPTION_STRONG,
        "strong": Type.BODY_STRONG,
        "heading": Type.HEADING,
        "title": Type.TITLE,
        "figure": Type.FIGURE,
    }
    rules = [f"QLabel {{ color: {c.text}; background: transparent; }}"]
    rules += [f'QLabel[tone="{name}"] {{ color: {value}; }}' for name, value in tones.items()]
    rules += [f'QLabel[type="{name}"] {{ {_text(style, scale)} }}' for name, style in styles.items()]
    return "\n".join(rules)


def _fields(c: Colors) -> str:
    inner = Size.CONTROL - 2
    # Spin boxes hide their buttons by width: ButtonSymbols.NoButtons with a border leaves 1 px of text in Qt 6.11.
    return f"""
QLineEdit, QSpinBox, QDoubleSpinBox, QPlainTextEdit[field="true"] {{
  background: {c.raised}; color: {c.text}; border: 1px solid {c.border_strong}; border-radius: {Radius.M}px;
  padding: 0 {Space.S}px; min-height: {inner}px; selection-background-color: {c.accent};
  selection-color: {c.on_accent}; }}
QPlainTextEdit[field="true"] {{ padding: {Space.XS}px; }}
QLineEdit:hover, QSpinBox:hover, QDoubleSpinBox:hover, QPlainTextEdit[field="true"]:hover {{
  border-color: {c.control}; }}
QLineEdit:focus, QSpinBox:focus, QDoubleSpinBox:focus, QPlainTextEdit[field="true"]:focus {{
  border: 2px solid {c.focus}; padding: 0 {Space.S - 1}px; min-height: {inner - 2}px; }}
QPlainTextEdit[field="true"]:focus {{ padding: {Space.XS - 1}px; }}
QLineEdit:disabled, QSpinBox:disabled, QDoubleSpinBox:disabled {{
  color: {c.text_disabled}; background: {c.sunken}; border-color: {c.border}; }}
QAbstractSpinBox::up-button, QAbstractSpinBox::down-button {{ width: 0; border: none; }}
QAbstractSpinBox QLineEdit, QAbstractSpinBox QLineEdit:focus {{ border: none;
  background: transparent; padding: 0 {Space.S}px; min-height: 0; }}
QLineEdit[bare="true"] {{ border: none; background: transparent; padding: 0; }}
QLineEdit[invalid="true"] {{ border-color: {c.bad}; }}
QPlainTextEdit[bare="true"] {{ border: none; background: transparent; color: {c.text};
  selection-background-color: {c.accent}; selection-color: {c.on_accent}; }}
"""


def _menus(c: Colors) -> str:
    return f"""
QMenu {{ background: {c.raised}; border: 1px solid {c.border_strong}; border-radius: {Radius.L}px;
  padding: {Space.XS}px; color: {c.text}; }}
QMenu::item {{ padding: 6px {Space.XL}px 6px {Space.M}px; border-radius: {Radius.M - 1}px; }}
QMenu::item:selected {{ background: {c.selected}; }}
QMenu::item:disabled {{ color: {c.text_disabled}; }}
QMenu::separator {{ height: 1px; background: {c.border}; margin: {Space.XS}px {Space.S}px; }}
"""


def _views(c: Colors, scale: float) -> str:
    return f"""
QTextBrowser, QTextEdit {{ background: transparent; border: none; color: {c.text};
  selection-background-color: {c.accent}; selection-color: {c.on_accent}; }}
QListView {{ background: {c.raised}; }}
ConversationList, QTableView {{ background: transparent; }}
QListView, QTableView {{ border: none; outline: none; color: {c.text};
  selection-background-color: transparent; selection-color: {c.text}; }}
QHeaderView {{ background: transparent; border: none; }}
QHeaderView::section {{ background: transparent; color: {c.text_muted}; border: none;
  border-bottom: 1px solid {c.border}; padding: {Space.S}px {Space.M}px; {_text(Type.CAPTION_STRONG, scale)} }}
"""


def _scrollbars(c: Colors) -> str:
    return f"""
QScrollBar:vertical {{ background: transparent; width: 10px; margin: 3px 1px; }}
QScrollBar:horizontal {{ background: transparent; height: 10px; margin: 1px 2px; }}
QScrollBar::handle {{ background: {c.border_strong}; border-radius: 3px; margin: 1px; }}
QScrollBar::handle:vertical {{ min-height: 36px; }}
QScrollBar::handle:horizontal {{ min-width: 36px; }}
QScrollBar::handle:hover {{ background: {c.control}; }}
QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}
"""
