"""What this machine has for the program, each answer with its reason: the `doctor` command and its page.

Invariant: looking changes nothing and loads neither torch nor Qt; a missing optional part is a fact, not an error.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import psutil
from msgspec import Struct

from core import figures, hardware
from core.paths import home
from core.translation import say

Status = Literal["ok", "note", "warn", "bad"]

NEEDED = ("torch", "transformers", "PySide6-Essentials", "SQLAlchemy", "tokenizers", "safetensors")
OPTIONAL = {  # extra of ours: (module it brings, what it is for as a key)
    "gptq": "gptqmodel",
    "flash-attn": "flash_attn",
    "llama-cpp": "llama_cpp",
    "deepspeed": "deepspeed",
    "eval": "lm_eval",
    "liger": "liger_kernel",
}
LOW_DISK = 2_000_000_000


class Finding(Struct, frozen=True):
    """One answer. `name` says what was looked at, `value` what was found, `reason` what follows from it."""

    key: str
    name: str
    value: str
    status: Status
    reason: str = ""


def examine(models_folder: Path) -> list[Finding]:
    """Every answer, in the order in which they matter."""
    return [
        _system(),
        _processor(),
        _compiler(),
        _memory(),
        _card(),
        _disk(models_folder),
        *(_needed(name) for name in NEEDED),
        _search(),
        _fonts(),
        *(_optional(extra, module) for extra, module in OPTIONAL.items()),
    ]


def _found(key: str, value: str, status: Status, reason: str = "", **params: str | int) -> Finding:
    why = say(f"doctor.{reason}", **params) if reason else ""
    return Finding(key, say(f"doctor.{key}"), value, status, why)


def _system() -> Finding:
    return _found("system", f"{platform.system()} {platform.release()}, Python {platform.python_version()}", "ok")


def _processor() -> Finding:
    name, flags = hardware.processor()
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    value = say("doctor.cores", name=name, count=cores)
    if flags & {"avx512_bf16", "amx_bf16"}:
        return _found("processor", value, "ok", "processor_bf16")
    return _found("processor", value, "note", "processor_plain" if "avx2" in flags else "processor_slow")


def _memory() -> Finding:
    memory = hardware.system_memory()
    value = say("doctor.memory_value", free=figures.size(memory.free), total=figures.size(memory.total))
    return _found("memory", value, "ok" if memory.free > 2_000_000_000 else "warn", "memory_reason")


def _card() -> Finding:
    found, reason = hardware.cards()
    if not found:
        return _found("card", say("doctor.none"), "note", reason)
    words = [f"{card.name}, {figures.size(card.memory.total)}, driver {card.driver}" for card in found]
    return _found("card", "; ".join(words), "ok", "card_used")


def _disk(models_folder: Path) -> Finding:
    place = models_folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    value = say("doctor.disk_value", free=figures.size(free), folder=str(models_folder))
    if not os.access(place, os.W_OK):
        return _found("disk", value, "bad", "disk_read_only")
    return _found("disk", value, "warn" if free < LOW_DISK else "ok", "disk_low" if free < LOW_DISK else "")


def _needed(name: str) -> Finding:
    try:
        return Finding(name, name, version(name), "ok")
    except PackageNotFoundError:
        return Finding(name, name, say("doctor.missing"), "bad", say("doctor.needed_missing"))


def _optional(extra: str, module: str) -> Finding:
    purpose = say(f"doctor.for_{module}")
    if importlib.util.find_spec(module):
        return Finding(extra, module, say("doctor.installed"), "ok", purpose)
    return Finding(extra, module, say("doctor.not_installed"), "note", purpose)


def _search() -> Finding:
    connection = sqlite3.connect(":memory:")
    try:
        options = {row[0] for row in connection.execute("PRAGMA compile_options")}
    finally:
        connection.close()
    good = "ENABLE_FTS5" in options
    return _found("sqlite", sqlite3.sqlite_version, "ok" if good else "bad", "" if good else "sqlite_no_search")


def _compiler() -> Finding:
    """Without one, tokens on the processor are computed by torch alone."""
    if os.environ.get(hardware.NATIVE) == "0":
        return _found("compiler", say("doctor.none"), "note", "compiler_off", variable=hardware.NATIVE)
    found = hardware.compiler()
    return _found(
        "compiler",
        found or say("doctor.none"),
        "ok" if found else "note",
        "compiler_reason" if found else "compiler_missing",
    )


def _fonts() -> Finding:
    """A Chinese font, as fontconfig sees it; systems without fontconfig bring their own."""
    if platform.system() != "Linux" or not shutil.which("fc-list"):
        return _found("font", say("doctor.by_system"), "ok")
    import subprocess

    names = subprocess.run(["fc-list", ":lang=zh", "family"], capture_output=True, text=True, timeout=10).stdout
    first = names.strip().splitlines()[0].split(",")[0] if names.strip() else ""
    return _found("font", first or say("doctor.none"), "ok" if first else "warn", "" if first else "font_missing")


def as_json(findings: list[Finding]) -> dict[str, object]:
    """For `doctor --json`: one object, with where the state lives."""
    return {
        "home": str(home()),
        "ok": not any(finding.status == "bad" for finding in findings),
        "findings": [
            {"key": f.key, "name": f.name, "value": f.value, "status": f.status, "reason": f.reason} for f in findings
        ],
    }
