"""Full-text search over messages and titles, in English and Chinese.

A table of FTS5 has two columns: `words` for text with spaces between words, `grams` for the pairs of neighbouring
characters of Chinese, Japanese and Korean, so that a word of two characters is one token. Each run ends with its last
character alone, so that a single character is found by prefix wherever it stands.
Invariant: what a user types is data: every term goes in as a quoted string, so no input is an operator or an error.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from sqlalchemy import Integer, Select, TextualSelect, column, select, text
from sqlalchemy.orm import Session

from core.store.records import Hit
from core.store.schema import Moment, storable

START, END = "\x02", "\x03"
LONGEST_QUERY = 200  # characters; a pasted page is cut
BEFORE, AFTER = 30, 110  # characters of a snippet around the first match

_CJK = (
    "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3100-\u318f\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
_RUNS = re.compile(f"[{_CJK}]+")
_TERMS = re.compile(f"([{_CJK}]+)|([^\\s{_CJK}]+)")

_FORGET = {name: text(f"DELETE FROM {name} WHERE rowid = :id") for name in ("message_search", "title_search")}
_INDEX = {
    name: text(f"INSERT INTO {name} (rowid, words, grams) VALUES (:id, :words, :grams)")
    for name in ("message_search", "title_search")
}
# CROSS JOIN keeps the order: the index is asked first, and stops at the limit.
_MESSAGES = text(
    "SELECT m.conversation_id, m.id, c.title, m.text, m.created FROM message_search f"
    " CROSS JOIN messages m ON m.id = f.rowid"
    " CROSS JOIN conversations c ON c.id = m.conversation_id AND c.deleted IS NULL"
    " WHERE message_search MATCH :query ORDER BY f.rowid DESC LIMIT :limit"
).columns(created=Moment)
_TITLES = text(
    "SELECT c.id, NULL, c.title, c.title, c.updated FROM title_search f"
    " CROSS JOIN conversations c ON c.id = f.rowid AND c.deleted IS NULL"
    " WHERE title_search MATCH :query ORDER BY c.updated DESC LIMIT :limit"
).columns(updated=Moment)
_CONVERSATIONS = text(
    "SELECT rowid AS id FROM title_search WHERE title_search MATCH :query"
    " UNION SELECT m.conversation_id FROM message_search f CROSS JOIN messages m ON m.id = f.rowid"
    " WHERE message_search MATCH :query"
)


def everything(s: Session, query: str, limit: int = 50) -> list[Hit]:
    """Titles with all words of `query`, then messages, newest first. A query without a word or character finds none."""
    wanted = match(query)
    if not wanted:
        return []
    terms = _marker(query)
    hits = _hits(s, _TITLES, wanted, limit, terms)
    return hits + _hits(s, _MESSAGES, wanted, limit - len(hits), terms)


def conversations_with(query: str) -> Select[tuple[int]] | None:
    """Selects the ids of the conversations whose title or a message holds all words of `query`; None finds none."""
    if not (wanted := match(query)):
        return None
    found = _CONVERSATIONS.bindparams(query=wanted).columns(column("id", Integer)).subquery()
    return select(found.c.id)


def index_message(s: Session, message_id: int, words: str) -> None:
    """Put the message's text in place of what was indexed of it."""
    _index(s, "message_search", message_id, words)


def index_new_messages(s: Session, texts: Sequence[tuple[int, str]]) -> None:
    """Many at once, none of them indexed before."""
    s.execute(_INDEX["message_search"], [_entry(message_id, words) for message_id, words in texts])


def index_title(s: Session, conversation_id: int, title: str) -> None:
    _index(s, "title_search", conversation_id, title)


def grams(words: str) -> str:
    """The pairs of neighbouring CJK characters, each run closed by its last one: 人工智能 -> 人工 工智 智能 能."""
    return " ".join(_pairs(run) + (" " if len(run) > 1 else "") + run[-1] for run in _RUNS.findall(words))


def match(query: str) -> str:
    """`query` in the language of FTS5: all terms must be there, words by their beginning. "" when it has none."""
    wanted = []
    for run, word in _terms(query):
        if len(run) == 1:
            wanted.append(f'grams : "{run}"*')
        elif run:
            wanted.append(f'grams : "{_pairs(run)}"')
        else:
            # What ends in a sign is a whole word: "c++" is no beginning of "cat".
            wanted.append('words : "{}"{}'.format(word.replace('"', " "), "*" if word[-1].isalnum() else ""))
    return " AND ".join(wanted)


def snippet(words: str, terms: re.Pattern[str]) -> str:
    """The line around the first match, every match in it between START and END."""
    found = terms.search(words)
    first = max(0, found.start() - BEFORE) if found else 0
    last = (found.start() if found else 0) + AFTER
    part = " ".join(words[first:last].replace(START, "").replace(END, "").split())
    marked = terms.sub(lambda m: f"{START}{m.group()}{END}", part)
    return ("…" if first else "") + marked + ("…" if last < len(words) else "")


def _terms(query: str) -> list[tuple[str, str]]:
    """Each a CJK run or else a word; what has neither letter nor digit is no term."""
    found: list[tuple[str, str]] = _TERMS.findall(_normal(query[:LONGEST_QUERY]))
    return [(run, word) for run, word in found if run or any(c.isalnum() for c in word)]


def _pairs(run: str) -> str:
    return " ".join(run[i : i + 2] for i in range(len(run) - 1))


def _normal(words: str) -> str:
    """Full-width letters and compatibility forms as their plain ones; NUL would end the string for SQLite."""
    return unicodedata.normalize("NFKC", storable(words)).replace("\0", " ")


def _index(s: Session, table: str, row_id: int, words: str) -> None:
    s.execute(_FORGET[table], {"id": row_id})
    s.execute(_INDEX[table], _entry(row_id, words))


def _entry(row_id: int, words: str) -> dict[str, int | str]:
    words = _normal(words)
    return {"id": row_id, "words": _RUNS.sub(" ", words), "grams": grams(words)}


def _marker(query: str) -> re.Pattern[str]:
    """Finds the terms in the original text, to mark them."""
    terms = [re.escape(run) if run else rf"(?<!\w){re.escape(word)}" for run, word in _terms(query)]
    return re.compile("|".join(terms), re.IGNORECASE)


def _hits(s: Session, statement: TextualSelect, wanted: str, limit: int, terms: re.Pattern[str]) -> list[Hit]:
    rows = s.execute(statement, {"query": wanted, "limit": limit})
    return [Hit(owner, message, title, snippet(body, terms), when) for owner, message, title, body, when in rows]
