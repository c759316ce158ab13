"""What a check of training data finds, as values that cross a pipe.

Invariant: a report says of every figure whether it was counted or estimated from a sample, and names the very file it
is about (`sha256`).
"""

from __future__ import annotations

from msgspec import Struct

from core.data.conversation import Mask
from core.data.problems import Problem
from core.data.shape import Columns, Format

BINS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)  # the upper ends; the last bin has none


class Lengths(Struct, frozen=True):
    """Tokens of the usable rows.

    counted: rows that were measured; less than usable ones where the file is large, then all figures but `longest` are
    those of the sample scaled up
    histogram: rows a bin of BINS, and those above; longest: tokens of the longest row measured
    cut_rows, cut_tokens, cut_learned: rows longer than `limit`, their tokens beyond it, and the share of learned
        tokens that is lost with it
    lost_rows: rows of which nothing is left to learn
    """

    mask: Mask
    limit: int
    counted: int
    tokens: int
    learned: int
    histogram: tuple[int, ...]
    longest: int
    longest_row: int
    cut_rows: int
    cut_learned: float
    lost_rows: int
    cut_tokens: int = 0


class Leaks(Struct, frozen=True):
    """Rows of the evaluation file whose question is also asked in the training data.

    questions: how many; answers: those of them with the same answer too; rows: the first of them, 1-based
    """

    file: str
    rows_checked: int
    questions: int
    answers: int
    rows: tuple[int, ...] = ()


class DataReport(Struct, frozen=True):
    """
    names: columns of the table, or keys of the first rows; columns: which of them hold what
    problems: the first ones in the order of the file; counts: rows by code, all of them
    train_rows, validation_rows: of the usable ones; train_rows may repeat each other, as `duplicates` says
    """

    file: str
    kind: str
    format: Format
    encoding: str
    sha256: str
    bytes: int
    names: tuple[str, ...]
    columns: Columns
    rows: int
    usable_rows: int
    train_rows: int
    validation_rows: int
    duplicates: int
    roles: tuple[tuple[str, int], ...]
    problems: tuple[Problem, ...]
    counts: tuple[tuple[str, int], ...]
    lengths: Lengths | None = None
    leaks: Leaks | None = None
