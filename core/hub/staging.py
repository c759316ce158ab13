"""What is on its way from a hub: `.downloading/<name>` below the models folder, with the plan and the files.

Invariant: a plan on disk is whole, and says which commit the files beside it are of; whoever finds one can go on with
it and needs to know nothing else.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
from msgspec import Struct

from core.hub.needed_files import Needed
from core.hub.repository import Repository

DOWNLOADING = ".downloading"
PLAN = "plan.json"


class Plan(Struct, frozen=True):
    """What is fetched: made from a listing, and kept until the model has its place."""

    repository: Repository
    needed: Needed


def staging_folder(models_folder: Path, name: str) -> Path:
    """Where the files of a model lie until it is whole."""
    return models_folder / DOWNLOADING / name


def left_over(models_folder: Path) -> dict[str, Plan]:
    """The downloads that lie there unfinished, by name: for a queue that lost its memory of them."""
    found = {}
    for folder in sorted((models_folder / DOWNLOADING).glob("*")):
        if (plan := read_plan(folder)) is not None:
            found[folder.name] = plan
    return found


def discard(models_folder: Path, name: str) -> None:
    """Throw away what has come of a download."""
    shutil.rmtree(staging_folder(models_folder, name), ignore_errors=True)


def read_plan(staging: Path) -> Plan | None:
    """None where there is none that can be read."""
    try:
        return msgspec.json.decode((staging / PLAN).read_bytes(), type=Plan)
    except (OSError, msgspec.DecodeError):
        return None


def write_plan(staging: Path, plan: Plan) -> None:
    """Atomic, and on the disk before it returns."""
    draft = staging / (PLAN + ".new")
    with draft.open("wb") as out:
        out.write(msgspec.json.format(msgspec.json.encode(plan), indent=1))
        out.flush()
        os.fsync(out.fileno())
    draft.replace(staging / PLAN)
