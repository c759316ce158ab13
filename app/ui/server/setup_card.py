"""Which model is served, where the server listens, with which key, and from when on.

Invariant: it shows what is kept, a choice is kept at once, and what cannot be taken is said below its field.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLineEdit, QWidget

from app.services.installed import Installed
from app.services.server_setup import ServerSetup, Why
from app.services.serving import ServerOptions, check
from app.ui.profiler.parts import KeyChoice
from app.ui.server.key_row import KeyRow
from app.ui.server.list_field import ListField
from app.ui.tokens import Space
from app.ui.widgets.fields import setting
from app.ui.widgets.fold import Fold
from app.ui.widgets.layout import Card, Line, column, label, pane
from app.ui.widgets.page import section
from app.ui.widgets.toggle import Segmented, Switch
from core.settings import ServerSettings
from core.translation import say

PORT_PX, PORT_SIGNS, LAST_PORT = 96, 12, 65535


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
        self.port.setMaxLength(PORT_SIGNS)
        self.port.setFixedWidth(PORT_PX)
        self.port.setAccessibleName(say("server_ui.port"))
        self.port.editingFinished.connect(self._take_port)
        self.port.textEdited.connect(lambda: self._tell_port(""))
        self.port_wrong = label("", "caption", "bad", wrap=True)
        self.port_wrong.setContentsMargins(Space.L, Space.S, Space.L, Space.M)
        self.port_wrong.hide()
        self._add(setting(say("server_ui.port"), say("server_ui.port_means"), self.port, last=True))
        self._add(self.port_wrong)
        self._add(Line())
        self.at_start = Switch(say("server_ui.at_start"))
        self.at_start.clicked.connect(lambda on: self._change(at_start=on))
        self._add(setting(say("server_ui.at_start"), say("server_ui.at_start_means"), self.at_start))
        yield
        self.advanced = Fold(say("server_ui.advanced"), self._advanced(), say("server_ui.advanced_remark"))
        self._add(self.advanced)

    def _advanced(self) -> QWidget:
        self.origins = ListField(
            "origins", "https://example.com", lambda origins: check(ServerOptions(origins=origins))
        )
        self.origins.taken.connect(lambda origins: self._change(origins=origins))
        self.names = ListField("names", "workbench.example.com", lambda names: check(ServerOptions(names=names)))
        self.names.taken.connect(lambda names: self._change(names=names))
        return pane(column(self.origins, self.names, gap=0))

    def _add(self, widget: QWidget) -> None:
        self._lines.addWidget(widget)

    # --- shown -------------------------------------------------------------------------

    def show_models(self, models: Sequence[Installed], model: str, why: Why) -> None:
        """Those that can be served, adapters after their base. model: what is served without a choice, and why."""
        choices = [("", say(f"server_ui.model_{why}", name=model))]
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
        self.origins.show_entries(settings.origins, say("server_ui.any_origin") if "*" in settings.origins else "")
        self.names.show_entries(settings.names)

    def focus_origins(self) -> None:
        self.advanced.open()
        self.origins.box.setFocus()

    # --- kept --------------------------------------------------------------------------

    def _change(self, **values: object) -> None:
        self._setup.change(**values)
        self.changed.emit()

    def take_port(self, port: int) -> None:
        self.port.setText(str(port))
        self._change(port=port)

    def _take_port(self) -> None:
        """What is no port is said, and the one that holds stands there again."""
        typed, port = self.port.text().strip(), self._setup.settings.port
        if typed == str(port):
            return
        if typed.isdecimal() and 0 < int(typed) <= LAST_PORT:
            self._tell_port("")
            self._change(port=int(typed))
            return
        self.port.setText(str(port))
        self._tell_port(say("server_ui.port_unusable", typed=typed or "–", port=port))

    def _tell_port(self, wrong: str) -> None:
        self.port_wrong.setText(wrong)
        self.port_wrong.setVisible(bool(wrong))
