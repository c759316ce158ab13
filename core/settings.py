"""The user's choices: one struct, one JSON file, in force at once.

Invariant: the file on disk is always whole (written beside and renamed). A file that cannot be read is kept as `.bad`
and the defaults are used, so a broken setting never keeps the program from starting. Secrets are never here: tokens
live in the system's key ring (`app.services.secrets`).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from core.files import replace_file
from core.load_options import LoadOptions
from core.remote_engine import RemoteEngine

log = logging.getLogger("settings")

SCHEMA = 1


class ServerSettings(Struct, frozen=True, forbid_unknown_fields=False):
    """What the server page keeps. on_network: other machines may ask; model "": whichever is in memory, else the one
    that chat answers with; needs_key: on this machine too;
    names: by which others call this machine, beside its own."""

    model: str = ""
    on_network: bool = False
    port: int = 8000
    needs_key: bool = False
    origins: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    at_start: bool = False


class Settings(Struct, frozen=True, forbid_unknown_fields=False):
    """Everything the settings page shows. "" for a folder or an endpoint means the default."""

    schema_version: int = SCHEMA
    language: Literal["system", "en", "zh"] = "system"
    theme: Literal["system", "light", "dark"] = "system"
    text_size: Literal["small", "normal", "large", "larger"] = "normal"
    less_motion: bool = False
    models_folder: str = ""
    last_model: str = ""
    keep_loaded_minutes: int = 30  # 0: until the program ends
    huggingface_endpoint: str = ""
    modelscope_endpoint: str = ""
    proxy: str = ""
    accepted_licences: tuple[str, ...] = ()  # by their short names
    load_options: dict[str, LoadOptions] = {}  # by the name of the model; the defaults are not kept
    remote_engines: tuple[RemoteEngine, ...] = ()
    server: ServerSettings = ServerSettings()


TEXT_SCALES = {"small": 0.9, "normal": 1.0, "large": 1.15, "larger": 1.3}


def load(file: Path) -> Settings:
    """The settings in `file`; defaults where there is none or it is broken (the broken one is kept as `.bad`)."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Settings)
    except FileNotFoundError:
        return Settings()
    except msgspec.DecodeError as error:
        kept = file.with_suffix(".bad")
        file.replace(kept)
        log.warning("settings could not be read (%s); kept as %s", error, kept.name)
        return Settings()


def save(file: Path, settings: Settings) -> None:
    """Atomic: readers see the old file or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, msgspec.json.format(msgspec.json.encode(settings), indent=2))
