"""How many more times over the data a run goes. Invariant: the button says what will be done."""

from __future__ import annotations

from PySide6.QtWidgets import QDialog, QDoubleSpinBox, QWidget

from app.services.training import Run
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.layout import column, label, row
from core import figures
from core.translation import say


class MoreDialog(QDialog):
    def __init__(self, parent: QWidget, run: Run) -> None:
        super().__init__(parent)
        self._run = run
        self.setWindowTitle(say("run_ui.verb_more"))
        self.setModal(True)
        self._spin = QDoubleSpinBox()
        self._spin.setAccessibleName(say("run_ui.epochs"))
        self._spin.setDecimals(1)
        self._spin.setRange(0.1, 1000)
        self._spin.setSingleStep(1.0)
        self._spin.setValue(1.0)
        self._spin.setMinimumWidth(96)
        self._means = label("", "caption", "muted")
        close = Button(say("kit.cancel"), "ghost")
        close.clicked.connect(self.reject)
        self.go = Button("", "primary", "play")
        self.go.clicked.connect(self.accept)
        self._spin.valueChanged.connect(lambda _: self._show())
        title = label(say("run_ui.more_title", name=run.name), "heading")
        asks = row(label(say("run_ui.epochs")), None, self._spin, gap=Space.L)
        foot = row(None, close, self.go, gap=Space.S)
        body = column(
            title, label(say("run_ui.more_means"), "body", "soft", wrap=True), asks, self._means, Space.S, foot
        )
        body.setSpacing(Space.M)
        body.setContentsMargins(Space.XL, Space.XL, Space.XL, Space.L)
        self.setLayout(body)
        self.setMinimumWidth(440)
        self._show()

    @property
    def epochs(self) -> float:
        return self._spin.value()

    def _show(self) -> None:
        facts = self._run.facts
        steps = round(self.epochs * facts.rows / self._run.recipe.batch) if facts else 0
        self._means.setText(say("run_ui.more_steps", count=figures.count(max(1, steps))) if steps else "")
        self.go.setText(say("run_ui.more_go", count=f"{self.epochs:g}"))
        self.go.setAccessibleName(self.go.text())
        self.go.updateGeometry()
