"""Where a model can come from: a repository on one of the two hubs, and how that hub is reached.

Values that cross the pipe to a worker and stand in the database, so they know neither. Invariant: a token is never part
of a text that is shown or logged.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Place = Literal["huggingface", "modelscope"]
PLACES: tuple[Place, ...] = ("huggingface", "modelscope")

NAMES: dict[Place, str] = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}
ENDPOINTS: dict[Place, str] = {"huggingface": "https://huggingface.co", "modelscope": "https://modelscope.cn"}


class Source(Struct, frozen=True):
    """One repository on one hub. revision: a branch, a tag or a commit; "" for the hub's own default."""

    place: Place
    id: str
    revision: str = ""


class Access(Struct, frozen=True):
    """How a hub is reached. The token goes into the Authorization header of this endpoint and nowhere else."""

    place: Place
    endpoint: str = ""
    token: str = ""

    def __repr__(self) -> str:
        return f"Access({self.place!r}, {self.endpoint!r}{', token' if self.token else ''})"

    @property
    def address(self) -> str:
        """Without a slash at its end."""
        return (self.endpoint or ENDPOINTS[self.place]).rstrip("/")
