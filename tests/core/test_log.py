"""Secrets never reach the log or a report."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from core import log


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("using hf_AbCdEfGhIjKlMnOp now", "AbCdEfGhIjKlMnOp"),
        ("GET https://user:pa55word@host/simple/x", "pa55word"),
        ("Authorization: Bearer abcdef0123456789", "abcdef0123456789"),
        ('{"api_key": "topsecretvalue"}', "topsecretvalue"),
        ("token=ms-1234567890abcdef", "1234567890abcdef"),
        ("password: hunter2hunter2", "hunter2hunter2"),
    ],
)
def test_mask(line: str, secret: str) -> None:
    assert secret in line and secret not in log.mask(line)


def test_ordinary_lines_stay_as_they_are() -> None:
    line = "loaded starter in 2.1 s: 134,515,008 parameters, 20 tokens: 3"
    assert log.mask(line) == line


def test_the_file_and_its_tail_hold_no_secret(tmp_path: Path) -> None:
    file = log.start(tmp_path)
    try:
        logging.getLogger("hub").info("asked with %s", "hf_AbCdEfGhIjKlMnOp")
        assert "asked with hf_****" in file.read_text("utf-8")
        file.write_text("old line with hf_AbCdEfGhIjKlMnOp\n", "utf-8")
        assert "AbCdEf" not in log.tail(file)
    finally:
        log.stop()


def test_tail_gives_whole_lines_of_a_long_file(tmp_path: Path) -> None:
    file = tmp_path / "long.log"
    file.write_text("".join(f"line {n}\n" for n in range(5000)), "utf-8")
    lines = log.tail(file, 1000).splitlines()
    assert lines[-1] == "line 4999" and lines[0].startswith("line ") and len(lines) < 100
    assert log.tail(tmp_path / "none.log") == ""
