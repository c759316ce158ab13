"""Where everything lives. The only module that reads the environment for places.

Invariant: all state of one user is below `home()`, so `QWEN_WORKBENCH_HOME` moves the whole of it.
"""

from __future__ import annotations

import os
from pathlib import Path

HOME_VARIABLE = "QWEN_WORKBENCH_HOME"


def resources() -> Path:
    """Read-only files that come with the program."""
    return Path(__file__).resolve().parent.parent / "resources"


def home() -> Path:
    """The folder of all state; made by whoever writes first."""
    if chosen := os.environ.get(HOME_VARIABLE):
        return Path(chosen).expanduser().resolve()
    import platformdirs

    return Path(platformdirs.user_data_dir("qwen-workbench", appauthor=False))


def database() -> Path:
    return home() / "workbench.db"


def settings_file() -> Path:
    return home() / "settings.json"


def models() -> Path:
    """Default folder of the models; the settings may name another."""
    return home() / "models"


def downloads() -> Path:
    """Files on their way in; what is here may be continued or thrown away."""
    return home() / "downloads"


def terminal_history() -> Path:
    """What was typed into the terminal chat; the user's alone."""
    return home() / "terminal-history"


def runs() -> Path:
    return home() / "runs"


def cards() -> Path:
    """Which job a graphics card belongs to now."""
    return home() / "cards"


def logs() -> Path:
    return home() / "logs"


def backups() -> Path:
    return home() / "backups"


def huggingface_cache() -> Path:
    """Where Hugging Face's own library keeps what it fetched; not ours, only looked at."""
    if chosen := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(os.path.expandvars(chosen)).expanduser()
    if chosen := os.environ.get("HF_HOME"):
        return Path(os.path.expandvars(chosen)).expanduser() / "hub"
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "huggingface" / "hub"


def modelscope_cache() -> Path:
    """The same of ModelScope's."""
    return Path(os.environ.get("MODELSCOPE_CACHE") or "~/.cache/modelscope").expanduser()
