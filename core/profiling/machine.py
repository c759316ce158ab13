"""This machine as a result names it, the versions in use, and the file where its limits are kept. No torch."""

from __future__ import annotations

import os
import platform
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from core import hardware, paths
from core.files import replace_file
from core.load_options import DeviceChoice
from core.profiling.result import Machine, MachineProbe

PACKAGES = ("qwen-workbench", "torch", "transformers", "peft", "bitsandbytes", "triton")


@lru_cache(maxsize=1)
def this_machine() -> Machine:
    """Asked once: drivers may take their time."""
    cards, _ = hardware.cards()
    card = cards[0] if cards else None
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        processor=hardware.processor()[0],
        cores=os.cpu_count() or 1,
        memory_bytes=hardware.system_memory().total,
        card=card.name if card else "",
        card_bytes=card.memory.total if card else 0,
        driver=card.driver if card else "",
    )


def runs_on_card(asked: DeviceChoice = "auto") -> bool:
    """Whether cells will run on the card: there is one, and PyTorch is no build for processors alone."""
    return asked != "cpu" and bool(this_machine().card) and "+cpu" not in versions().get("torch", "")


def identity(machine: Machine) -> str:
    """What makes it another machine for what was measured: not its driver or kernel."""
    return f"{machine.processor}|{machine.cores}|{machine.memory_bytes >> 28}|{machine.card}|{machine.card_bytes >> 28}"


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def probe_file(device: str) -> Path:
    return paths.home() / "profiling" / f"limits-{device}.json"


def known_probe(device: str, machine: Machine) -> MachineProbe | None:
    """What is kept of the last probe of this device, if it was of this machine."""
    try:
        found = msgspec.json.decode(probe_file(device).read_bytes(), type=MachineProbe)
    except (OSError, msgspec.DecodeError):
        return None
    return found if identity(found.machine) == identity(machine) else None


def keep_probe(probe: MachineProbe) -> None:
    """Raises OSError."""
    file = probe_file(probe.device)
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, msgspec.json.format(msgspec.json.encode(probe), indent=1))
