"""Logging: named loggers ("chat", "worker", "store" ...), one rotating file, secrets masked.

Invariant: what `mask` recognises as a secret reaches neither the file nor a report.
"""

from __future__ import annotations

import logging
import logging.handlers
import re
from pathlib import Path

FILE_NAME = "workbench.log"
MAX_BYTES = 1_000_000
_SECRETS = re.compile(
    r"(?P<url>(?<=://)[^/\s:@]+:[^/\s@]+(?=@))"
    r"|(?P<token>\b(?:hf_|ms-|sk-|ghp_|github_pat_)[A-Za-z0-9_-]{8,})"
    r"|(?P<bearer>(?i:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,})"
    r"|(?P<header>(?i:authorization\s*:)\s*[^\r\n]+)"
    r"|(?P<field>(?i:token|api[_-]?key|password|secret)[\"']?\s*[=:]\s*[\"']?[^\s\"',;}]{6,})"
)


def mask(text: str) -> str:
    """`text` with tokens, keys and passwords replaced by stars."""
    return _SECRETS.sub(_stars, text)


def _stars(match: re.Match[str]) -> str:
    whole = match.group()
    if match.lastgroup == "token":
        return whole[:3] + "****"
    if match.lastgroup in ("field", "header"):
        name = re.split(r"[=:]", whole, maxsplit=1)[0]
        return whole[: len(name) + 1] + "****"
    return "****"


class _Masked(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return mask(super().format(record))


def start(folder: Path, *, level: int = logging.INFO) -> Path:
    """Send everything from `level` on to a rotating file in `folder` (3 files of 1 MB); returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE_NAME
    handler = logging.handlers.RotatingFileHandler(
        file, maxBytes=MAX_BYTES, backupCount=2, encoding="utf-8", delay=True
    )
    handler.setFormatter(_Masked("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    for chatty in ("httpx", "httpcore", "asyncio", "qasync", "markdown_it"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return file


def stop() -> None:
    """Close the file; for the end of the program and for tests."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, logging.handlers.RotatingFileHandler):
            root.removeHandler(handler)
            handler.close()


def tail(file: Path, limit_bytes: int = 64 * 1024) -> str:
    """The last lines of a log, masked once more; "" where there is none."""
    try:
        with file.open("rb") as log:
            log.seek(0, 2)
            log.seek(max(0, log.tell() - limit_bytes))
            text = log.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return mask(text if len(text) < limit_bytes else text.partition("\n")[2])
