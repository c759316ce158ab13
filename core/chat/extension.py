"""New tokens for whole words, learnt from a list of words with their frequencies, for `qwen.tiktoken` vocabularies.

Invariant: no id of the vocabulary changes, and with the new entries each learnt word is one token. What the tokens mean
a model has to be taught afterwards.
"""

from __future__ import annotations

import heapq
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import tiktoken

from core.chat.tiktoken_file import PATTERN, SPECIAL_TOKENS, encoding, regular_count
from core.errors import UserError

Pair = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class NewToken:
    """frequency: of the pair it was merged from, when it was chosen."""

    token: bytes
    id: int
    frequency: int


@dataclass(frozen=True, slots=True)
class SkippedWord:
    """ "pieces": text is always split inside it, so it can never be one token. "known": it is one already."""

    word: str
    reason: Literal["pieces", "known"]


@dataclass(frozen=True, slots=True)
class Extension:
    tokens: tuple[NewToken, ...]
    skipped: tuple[SkippedWord, ...]

    @property
    def entries(self) -> dict[bytes, int]:
        return {new.token: new.id for new in self.tokens}


def read_words(file: Path) -> dict[str, int]:
    """Lines of `word<TAB>frequency`; without a frequency it counts once, and the same word twice adds up.

    Raises:
        UserError: words_unreadable, words_line_unreadable.
    """
    try:
        lines = file.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("words_unreadable", file=str(file), reason=str(error)) from error
    found: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        word, tab, frequency = line.rstrip("\r").partition("\t")
        if not word.strip() and not tab:
            continue
        if not word.strip() or (tab and not (frequency.strip().isdecimal() and int(frequency) > 0)):
            raise UserError("words_line_unreadable", file=str(file), line=number)
        word = unicodedata.normalize("NFC", word)
        found[word] = found.get(word, 0) + (int(frequency) if tab else 1)
    return found


def first_free_id(ranks: Mapping[bytes, int]) -> int:
    return max(regular_count(ranks) + len(SPECIAL_TOKENS), max(ranks.values()) + 1)


def extend(ranks: Mapping[bytes, int], words: Mapping[str, int], start_id: int) -> Extension:
    """
    Raises:
        UserError: extension_start_taken when ids from start_id on are in use.
    """
    free = first_free_id(ranks)
    if start_id < free:
        raise UserError("extension_start_taken", start=start_id, free=free)
    skipped: list[SkippedWord] = []
    learnt: list[tuple[list[bytes], int]] = []
    known, whole = encoding(ranks), _single_pieces(words)
    for word, frequency in words.items():
        ids = known.encode_ordinary(word)
        if word not in whole:
            skipped.append(SkippedWord(word, "pieces"))
        elif len(ids) == 1:
            skipped.append(SkippedWord(word, "known"))
        else:
            learnt.append(([known.decode_single_token_bytes(id) for id in ids], frequency))
    tokens: dict[bytes, NewToken] = {}
    for pair, frequency in _Merging(learnt).merges():
        # A token that is there already, but could not be reached from these parts, needs no second id.
        if (token := b"".join(pair)) not in ranks and token not in tokens:
            tokens[token] = NewToken(token, start_id + len(tokens), frequency)
    return Extension(tuple(tokens.values()), tuple(skipped))


def _single_pieces(words: Iterable[str]) -> set[str]:
    """The words that the pattern leaves whole: a piece that is in a vocabulary as it stands is taken as it stands."""
    listed = list(dict.fromkeys(words))
    ranks = {bytes((byte,)): byte for byte in range(256)}
    for word in listed:
        ranks.setdefault(word.encode(), len(ranks))
    pieces = tiktoken.Encoding("pieces", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
    return {word for word in listed if pieces.encode_ordinary(word) == [ranks[word.encode()]]}


class _Merging:
    """Joins the most frequent pair of neighbours in all words, again and again, until each word is one token."""

    def __init__(self, words: list[tuple[list[bytes], int]]) -> None:
        self._tokens = [tokens for tokens, _ in words]
        self._frequencies = [frequency for _, frequency in words]
        self._counts: defaultdict[Pair, int] = defaultdict(int)
        self._places: defaultdict[Pair, set[int]] = defaultdict(set)  # words that have, or had, the pair
        self._heap: list[tuple[int, int, int, bytes, Pair]] = []  # old counts stay in it and are passed over
        for word in range(len(words)):
            self._count(word, 1)
        for pair in list(self._counts):
            self._offer(pair)

    def merges(self) -> Iterator[tuple[Pair, int]]:
        while self._heap:
            negative, *_, pair = heapq.heappop(self._heap)
            if self._counts[pair] == -negative > 0:
                yield pair, -negative
                self._merge(pair)

    def _merge(self, pair: Pair) -> None:
        touched: set[Pair] = set()
        for word in self._places.pop(pair):
            touched |= self._count(word, -1)
            self._tokens[word] = list(_joined(self._tokens[word], pair))
            touched |= self._count(word, 1)
        for changed in touched:
            self._offer(changed)

    def _count(self, word: int, sign: int) -> set[Pair]:
        pairs = list(pairwise(self._tokens[word]))
        for pair in pairs:
            self._counts[pair] += sign * self._frequencies[word]
            self._places[pair].add(word)
        return set(pairs)

    def _offer(self, pair: Pair) -> None:
        """First the most frequent, then the shortest in characters, in bytes, then in alphabetical order."""
        if count := self._counts[pair]:
            token = b"".join(pair)
            characters = len(token.decode("utf-8", "replace"))
            heapq.heappush(self._heap, (-count, characters, len(token), token, pair))


def _joined(tokens: list[bytes], pair: Pair) -> Iterator[bytes]:
    at = 0
    while at < len(tokens):
        if tuple(tokens[at : at + 2]) == pair:
            yield b"".join(pair)
            at += 2
        else:
            yield tokens[at]
            at += 1
