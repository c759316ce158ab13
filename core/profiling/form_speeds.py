"""How much faster a model answers on this processor with its weights in 8 or 4 bits: kept in a file. No torch.

Invariant: what is known was measured on this very processor with this PyTorch and this program; else nothing is.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from core import paths
from core.files import replace_file
from core.profiling.machine import identity, this_machine, versions

PLAIN = "bfloat16"
WORTH = 1.2  # times as fast: for less nobody changes the weights of a model
GOOD = ("int8",)  # forms whose answers hardly differ from those of the stored weights


class FormSpeeds(Struct, frozen=True):
    """
    seconds: by form, of a product of one vector and `weights` weights, as each token of an answer needs
    is_native: by our own code, built for this processor
    """

    machine: str
    versions: dict[str, str]
    weights: int
    seconds: dict[str, float]
    is_native: bool
    measured_at: datetime

    def gain(self, form: str) -> float:
        """How many times as fast as plain weights; 0 for a form that was not measured."""
        return self.seconds[PLAIN] / self.seconds[form] if form in self.seconds else 0.0

    @property
    def best(self) -> str:
        """The form to take here: the fastest of the good ones where it is worth it, else the plain one."""
        fastest = max(GOOD, key=self.gain)
        return fastest if self.gain(fastest) >= WORTH else PLAIN


def made_on() -> tuple[str, dict[str, str]]:
    """What a measurement belongs to."""
    found = versions()
    return identity(this_machine()), {name: found[name] for name in ("torch", "qwen-workbench") if name in found}


def file() -> Path:
    return paths.home() / "profiling" / "forms-cpu.json"


def known() -> FormSpeeds | None:
    try:
        found = msgspec.json.decode(file().read_bytes(), type=FormSpeeds)
    except (OSError, msgspec.DecodeError):
        return None
    is_whole = found.seconds.get(PLAIN, 0) > 0 and all(seconds > 0 for seconds in found.seconds.values())
    return found if is_whole and (found.machine, found.versions) == made_on() else None


def keep(speeds: FormSpeeds) -> None:
    """Raises OSError."""
    place = file()
    place.parent.mkdir(parents=True, exist_ok=True)
    replace_file(place, msgspec.json.format(msgspec.json.encode(speeds), indent=1))
