"""Asks pip where a wheel lies. Mirrors, credentials, certificates and proxies are then those pip is set up with.

Invariant: an address may hold a user's password; it goes to the downloader and nowhere else, never into a message or
a log. pip is a child process with a deadline and is killed when nobody waits for it any more.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit, urlunsplit

from core.errors import UserError
from core.models.steps import POLL_S, Step, Work

CONNECT_TIMEOUT_S = 15
DEADLINE_S = 300.0  # pip before 23.3, or an index without metadata files, makes pip fetch the wheel itself


@dataclass(frozen=True, slots=True)
class Wheel:
    """Where a wheel lies. `sha256` is what the index says, "" when it says nothing."""

    url: str = field(repr=False)
    sha256: str
    certificates: str = ""
    proxy: str = field(default="", repr=False)


def locate(package: str, version: str, proxy: str = "") -> Work[Wheel]:
    """
    Raises:
        UserError: pip_missing, pip_late, pip_refused, or source_unreachable when no index has the package.
    """
    if importlib.util.find_spec("pip") is None:
        raise UserError("pip_missing", python=sys.executable)
    options = ["--dry-run", "--no-deps", "--ignore-installed", "--only-binary", ":all:", "--quiet", "--report", "-"]
    limits = ["--no-input", "--retries", "0", "--timeout", str(CONNECT_TIMEOUT_S)]
    answer = yield from _pip(["install", *options, *limits, f"{package}=={version}"], proxy)
    if answer.code:
        raise _refusal(answer.errors, package, version)
    settings = (yield from _pip(["config", "list"], proxy)).out
    return _wheel(answer.out, settings, proxy)


@dataclass(frozen=True, slots=True)
class _Answer:
    code: int
    out: str
    errors: str


def _pip(arguments: Sequence[str], proxy: str) -> Work[_Answer]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONIOENCODING": "utf-8"}
        if proxy:
            environment["PIP_PROXY"] = proxy  # on the command line everybody could read its password
        child = subprocess.Popen(
            [sys.executable, "-m", "pip", *arguments],
            stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env=environment,
        )  # fmt: skip
        deadline = time.monotonic() + DEADLINE_S
        try:
            while (code := _poll(child)) is None:
                if time.monotonic() > deadline:
                    raise UserError("pip_late", seconds=int(DEADLINE_S))
                yield Step("asking", 0)
            return _Answer(code, _text(out), _text(errors))
        finally:
            child.kill()
            child.wait()


def _poll(child: subprocess.Popen[bytes]) -> int | None:
    try:
        return child.wait(POLL_S)
    except subprocess.TimeoutExpired:
        return None


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _refusal(errors: str, package: str, version: str) -> UserError:
    """pip says the same of an index it cannot reach and of one that lacks the package."""
    wanted = f"{package} {version}"
    if "No matching distribution" in errors or "Could not find a version" in errors:
        return UserError("source_unreachable", package=wanted)
    if "DO NOT MATCH THE HASHES" in errors:
        return UserError("source_differs", package=wanted)
    lines = [line for line in errors.splitlines() if line.startswith("ERROR:")] or errors.splitlines()[-1:]
    reason = without_credentials(" ".join(line.removeprefix("ERROR:").strip() for line in lines))
    return UserError("pip_refused", package=wanted, reason=reason)


def _wheel(report: str, settings: str, proxy: str) -> Wheel:
    found = json.loads(report)["install"][0]["download_info"]
    return Wheel(
        url=_with_credentials(found["url"], settings),
        sha256=found.get("archive_info", {}).get("hashes", {}).get("sha256", ""),
        certificates=_setting(settings, "cert"),
        proxy=proxy or _setting(settings, "proxy"),
    )


def _setting(settings: str, name: str) -> str:
    """One line of `pip config list`: global.cert='/etc/ssl/ca.crt' or :env:.cert='...'; the environment comes first."""
    found = re.findall(rf"^(\S+)\.{name}='([^']*)'$", settings, re.MULTILINE)
    for section in (":env:", "install", "global"):
        for where, value in found:
            if where == section:
                return str(value)
    return ""


def _with_credentials(url: str, settings: str) -> str:
    """pip leaves user and password out of its report; an index on the same host, which pip names, has them."""
    target = urlsplit(url)
    for index in re.findall(r"https?://[^\s'\"\\]+", settings):
        known = urlsplit(index)
        if "@" in known.netloc and (known.scheme, known.hostname) == (target.scheme, target.hostname):
            user = known.netloc.rpartition("@")[0]
            place = target.netloc.rpartition("@")[2]
            return urlunsplit(target._replace(netloc=f"{user}@{place}"))
    return url


def without_credentials(text: str) -> str:
    """`text` with the user part of every address in it masked."""
    return re.sub(r"(\w+://)[^/\s@]+@", r"\1****@", text)


def local_file(url: str) -> Path | None:
    """The file that a file:// address names."""
    from urllib.request import url2pathname

    parts = urlsplit(url)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None
