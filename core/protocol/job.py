"""What every job is, apart from messages.py so that parts of the protocol can stand in files of their own."""

from __future__ import annotations

from msgspec import Struct


class Job(Struct, frozen=True, tag=True):
    """A request that is answered by events and ends with Finished or Failed."""

    job_id: str
