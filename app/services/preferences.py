"""The settings in force and who listens to them. Invariant: a change is on disk before it is told."""

from __future__ import annotations

from pathlib import Path

import msgspec

from app.services.events import Event
from core import load_options, paths, settings
from core.load_options import LoadOptions
from core.settings import Settings


class Preferences:
    def __init__(self, file: Path | None = None) -> None:
        self._file = file or paths.settings_file()
        self.settings = settings.load(self._file)
        self.changed: Event[Settings] = Event()

    def change(self, **values: object) -> None:
        """Replace some settings; saved and told at once. Nothing happens when they are as they were."""
        new = msgspec.structs.replace(self.settings, **values)
        if new != self.settings:
            settings.save(self._file, new)
            self.settings = new
            self.changed.emit(new)

    def load_options(self, model: str) -> LoadOptions:
        """How the user wants this model loaded."""
        return self.settings.load_options.get(model, load_options.DEFAULT)

    def choose_load_options(self, model: str, options: LoadOptions) -> None:
        """In force from the next time the model is needed."""
        others = {name: kept for name, kept in self.settings.load_options.items() if name != model}
        self.change(load_options=others if options == load_options.DEFAULT else {**others, model: options})

    @property
    def models_folder(self) -> Path:
        chosen = self.settings.models_folder
        return Path(chosen).expanduser() if chosen else paths.models()
