"""What a hub says of a model repository: its files with sizes and digests, pinned to one commit.

Both hubs are told in the same values, so everything behind them (which files are needed, what they would take of the
memory, the download) asks no hub by name. Invariant: a path that a `RepoFile` holds is relative and stays below the
folder it is written into; `safe_path` is how a hub's word becomes one.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePosixPath

from msgspec import Struct

from core.errors import UserError
from core.sources import Source


class RepoFile(Struct, frozen=True):
    """One file of a repository.

    sha256: of its content, "" where the hub does not say; git_oid: the sha1 that git gives the content, known instead
    of it for small files on Hugging Face
    """

    path: str
    size_bytes: int
    sha256: str = ""
    git_oid: str = ""


class Repository(Struct, frozen=True):
    """A repository at one commit.

    licence: its short name as the card says it, "" when it does not; licence_link: where its text stands
    gated: the hub gives the files only to accounts that accepted its terms there
    """

    source: Source
    commit: str
    files: tuple[RepoFile, ...]
    licence: str = ""
    licence_link: str = ""
    gated: bool = False
    updated: datetime | None = None

    def file(self, path: str) -> RepoFile | None:
        return next((file for file in self.files if file.path == path), None)


class Found(Struct, frozen=True):
    """One repository that a search found. downloads: of the last month on Hugging Face, of all time on ModelScope;
    parameters: 0 where the hub does not say."""

    source: Source
    downloads: int = 0
    likes: int = 0
    updated: datetime | None = None
    task: str = ""
    licence: str = ""
    gated: bool = False
    parameters: int = 0


def safe_path(path: str) -> str:
    """`path` as a hub listed it.

    Raises:
        UserError: hub_unreadable, when it would leave the folder of the model.
    """
    pure = PurePosixPath(path)
    leaves = not pure.parts or pure.is_absolute() or ".." in pure.parts or any(sign in path for sign in "\\:\0")
    if leaves:
        raise UserError("hub_unreadable", reason=path[:80])
    return str(pure)
