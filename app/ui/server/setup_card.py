"""Which model is served, where the server listens, with which key, and from when on.

Invariant: it shows what is kept, a choice is kept at once, and what cannot be taken is said below its field.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from PySide6.QtCore import Signal
from PySide6.QtGui import QIntValidator
from PySide6.QtWidgets import QLineEdit, QWidget

from app.services.installed import Installed
from app.services.server_setup import ServerSetup
from app.services.serving import ServerOptions, check
from app.ui.profiler.parts import KeyChoice
from app.ui.server.key_row import KeyRow
from app.ui.tokens import Space
from app.ui.widgets.fields import setting
from app.ui.widgets.fold import Fold
from app.ui.widgets.layout import Card, Line, column, label, pane
from app.ui.widgets.page import section
from app.ui.widgets.toggle import Segmented, Switch
from core.errors import UserError
from core.settings import ServerSettings
from core.translation import say

PORT_PX = 96


class SetupCard(QWidget):
    """
    Signals:
        changed: something is kept that holds from the next opening
    """

    changed = Signal()

    def __init__(self, setup: ServerSetup) -> None:
        super().__init__()
        self._setup = setup
        self._lines = column(gap=0)
        body = section(say("server_ui.setup"), "", Card(self._lines, padding=0))
        self.setLayout(column(body, gap=0))

    def build(self) -> Iterator[None]:
        """The rows, a few at a time."""
        self.model = KeyChoice(say("server_ui.model"))
        self.model.picked.connect(lambda name: self._change(model=name))
        self._add(setting(say("server_ui.model"), say("server_ui.model_means"), self.model))
        self.reach = Segmented(say("server_ui.reach"), [say("server_ui.reach_here"), say("server_ui.reach_network")])
        self.reach.chosen.connect(lambda place: self._change(on_network=bool(place)))
        self._add(setting(say("server_ui.reach"), say("server_ui.reach_means"), self.reach))
        yield
        self.needs_key = Switch(say("server_ui.needs_key"))
        self.needs_key.clicked.connect(lambda on: self._change(needs_key=on))
        self.key = KeyRow()
        self._key_means = label("", "caption", "muted", wrap=True)
        self._add(setting(say("server_ui.needs_key"), say("server_ui.needs_key_means"), self.needs_key, last=True))
        self._add(self.key)
        self._add(Line())
        yield
        self.port = QLineEdit()
        self.port.setValidator(QIntValidator(1, 65535, self.port))
        self.port.setFixedWidth(PORT_PX)
        self.port.setAccessibleName(say("server_ui.port"))
        self.port.editingFinished.connect(self._take_port)
        self._add(setting(say("server_ui.port"), say("server_ui.port_means"), self.port))
        self.at_start = Switch(say("server_ui.at_start"))
        self.at_start.clicked.connect(lambda on: self._change(at_start=on))
        self._add(setting(say("server_ui.at_start"), say("server_ui.at_start_means"), self.at_start))
        yield
        self.advanced = Fold(say("server_ui.advanced"), self._origins(), say("server_ui.advanced_remark"))
        self._add(self.advanced)

    def _origins(self) -> QWidget:
        self.origins = QLineEdit()
        self.origins.setPlaceholderText("https://example.com")
        self.origins.setAccessibleName(say("server_ui.origins"))
        self.origins.editingFinished.connect(self._take_origins)
        self.wrong = label("", "caption", "bad", wrap=True)
        self.wrong.hide()
        means = label(say("server_ui.origins_means"), "caption", "muted", wrap=True)
        body = column(label(say("server_ui.origins"), "strong"), means, self.origins, self.wrong, gap=Space.XS)
        body.setContentsMargins(Space.L, 0, Space.L, Space.L)
        return pane(body)

    def _add(self, widget: QWidget) -> None:
        self._lines.addWidget(widget)

    # --- shown -------------------------------------------------------------------------

    def show_models(self, models: Sequence[Installed], model: str) -> None:
        """Those that can be served, adapters after their base. model: what would be served without a choice."""
        first = say("server_ui.model_any", name=model) if model else say("server_ui.model_none")
        choices = [("", first)]
        for one in models:
            facts = one.manifest
            name = say("chat.with_adapter", base=facts.base, adapter=facts.name) if facts.base else facts.name
            choices.append((facts.name, name))
        chosen = self._setup.settings.model
        self.model.show_choices(choices, chosen if chosen in dict(choices) else "")

    def show_settings(self, settings: ServerSettings) -> None:
        self.reach.blockSignals(True)
        self.reach.choose(int(settings.on_network))
        self.reach.blockSignals(False)
        self.needs_key.setChecked(self._setup.has_key)
        self.needs_key.setEnabled(not settings.on_network)
        reason = say("server_ui.key_required") if settings.on_network else ""
        self.needs_key.setToolTip(reason)
        self.needs_key.setAccessibleDescription(reason)
        self.key.setVisible(self._setup.has_key)
        self.at_start.setChecked(settings.at_start)
        if not self.port.hasFocus():
            self.port.setText(str(settings.port))
        if not self.origins.hasFocus():
            self.origins.setText(", ".join(settings.origins))

    def focus_origins(self) -> None:
        self.advanced.open()
        self.origins.setFocus()

    # --- kept --------------------------------------------------------------------------

    def _change(self, **values: object) -> None:
        self._setup.change(**values)
        self.changed.emit()

    def take_port(self, port: int) -> None:
        self.port.setText(str(port))
        self._change(port=port)

    def _take_port(self) -> None:
        if self.port.text().isdigit() and int(self.port.text()) != self._setup.settings.port:
            self._change(port=int(self.port.text()))

    def _take_origins(self) -> None:
        """Checked on leaving the field; a wrong one stays on the screen and is not kept."""
        written = self.origins.text().replace(";", ",").split(",")
        origins = tuple(one.strip().rstrip("/") for one in written if one.strip())
        wrong = ""
        try:
            check(ServerOptions(origins=origins))
        except UserError as error:
            wrong = say("server_ui.origin_unusable", **error.params)
        self.wrong.setText(wrong)
        self.wrong.setVisible(bool(wrong))
        self.origins.setProperty("invalid", bool(wrong))
        self.origins.style().polish(self.origins)
        if not wrong and origins != self._setup.settings.origins:
            self._change(origins=origins)
