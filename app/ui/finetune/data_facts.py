"""What a check has found of the data, in numbers: the file, its rows, their lengths, what is kept aside.

Invariant: a figure that was estimated from a part of the rows says so.
"""

from __future__ import annotations

from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.ui import theme
from app.ui.finetune.step import emptied
from app.ui.tokens import Space
from app.ui.widgets.histogram import Histogram
from app.ui.widgets.layout import Card, column, label, pane, row
from app.ui.widgets.page import section
from core import figures
from core.data.guess import GUESSED
from core.data.report import BINS, DataReport, Leaks, Lengths
from core.translation import say

WIDTH = 300


class DataFacts(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self.setFixedWidth(round(WIDTH * theme.state.text_scale))
        self.lines: QVBoxLayout = column(gap=Space.S)
        self.histogram = Histogram(say("finetune_ui.lengths"))
        self.cut = label("", "caption", "soft", wrap=True)
        self._lengths = section(say("finetune_ui.lengths"), "", Card(column(self.histogram, self.cut, gap=Space.S)))
        head = section(say("finetune_ui.data"), "", Card(self.lines))
        self.setLayout(column(head, self._lengths, None, gap=Space.L))

    def show_report(self, report: DataReport) -> None:
        emptied(self.lines)
        for name, value, tone in _facts(report):
            self.lines.addWidget(_line(name, value, tone))
        if report.encoding in GUESSED:
            guess = say("data.encoding_guess", encoding=report.encoding.upper())
            self.lines.addWidget(label(guess, "caption", "warn", wrap=True))
        if report.leaks is not None and report.leaks.questions:
            self.lines.addWidget(label(_leak_words(report.leaks), "caption", "warn", wrap=True))
        lengths = report.lengths if report.usable_rows else None
        self._lengths.setVisible(lengths is not None)
        if lengths is not None:
            self._show_lengths(lengths)

    def _show_lengths(self, lengths: Lengths) -> None:
        rows = max(1, sum(lengths.histogram))
        words = [say("finetune_ui.longest", tokens=figures.count(lengths.longest))]
        if lengths.cut_rows:
            share = f"{lengths.cut_rows / rows:.1%}"
            lost = f"{lengths.cut_learned:.1%}"
            words.append(say("finetune_ui.cut_rows", count=figures.count(lengths.cut_rows), share=share, lost=lost))
        else:
            words.append(say("finetune_ui.cut_none"))
        if lengths.lost_rows:
            words.append(say("finetune_ui.lost_rows", count=figures.count(lengths.lost_rows)))
        said = say("discover.space").join(words)
        self.cut.setText(said)
        cut = say("finetune_ui.cut_at", tokens=figures.count(lengths.limit))
        self.histogram.show_counts(lengths.histogram, BINS, lengths.limit, cut, said)


def _line(name: str, value: str, tone: str) -> QWidget:
    shown = label(value, "strong", tone)
    shown.setFont(theme.font(tabular=True))
    return pane(row(label(name, "caption", "muted"), None, shown))


def _facts(report: DataReport) -> list[tuple[str, str, str]]:
    def fact(name: str, value: str, tone: str = "") -> tuple[str, str, str]:
        return say(f"finetune_ui.fact_{name}"), value, tone

    left_out = report.rows - report.usable_rows
    found = [
        fact("encoding", report.encoding.upper() or "–"),
        fact("size", figures.size(report.bytes)),
        fact("rows", figures.count(report.rows)),
        fact("usable", figures.count(report.usable_rows), "warn" if left_out else ""),
    ]
    if report.validation_rows:
        found += [
            fact("train", figures.count(report.train_rows)),
            fact("aside", figures.count(report.validation_rows)),
        ]
    found += [(say(f"finetune_ui.role_{role}"), figures.count(count), "") for role, count in report.roles]
    lengths = report.lengths
    if lengths is not None and report.usable_rows:
        mark = "≈ " if lengths.counted < report.usable_rows else ""
        found += [
            fact("tokens", mark + figures.count(lengths.tokens)),
            fact("learned", mark + figures.count(lengths.learned)),
        ]
    return found


def _leak_words(leaks: Leaks) -> str:
    return say("finetune_ui.leaks", count=figures.count(leaks.questions), rows=figures.count(leaks.rows_checked))
