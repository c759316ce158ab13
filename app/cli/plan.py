"""`qwen-workbench models plan`: what a model would take of the memory, and where each part of it would go.

Reads headers only, in this process; nothing is loaded and no worker is started. With --json one JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from app.cli.session import library, load_options
from core import figures
from core.errors import UserError
from core.load_options import DeviceChoice, KVChoice, LoadOptions, WeightChoice
from core.models.context import plan as context_of
from core.models.device_plan import Device, DevicePlan, described, devices_here, plan
from core.models.folder_files import CONFIG_NAME
from core.models.footprint import Footprint, estimate, weights_format
from core.models.shape import Shape, read_shape, shape_of
from core.protocol.messages import Notice
from core.translation import say


def plan_model(
    model: Annotated[str, typer.Option("--model", "-m", help=say("plan.help_model"))] = "",
    architecture: Annotated[Path | None, typer.Option("--architecture", help=say("plan.help_architecture"))] = None,
    weights: Annotated[WeightChoice | None, typer.Option("--weights", help=say("plan.help_weights"))] = None,
    kv_cache: Annotated[KVChoice | None, typer.Option("--kv-cache", help=say("plan.help_kv_cache"))] = None,
    device: Annotated[DeviceChoice | None, typer.Option("--device", help=say("plan.help_device"))] = None,
    context: Annotated[
        int | None, typer.Option("--context-length", "--context", min=0, help=say("plan.help_context"))
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help=say("plan.help_json"))] = False,
) -> None:
    if bool(model) == bool(architecture):
        raise typer.BadParameter(say("plan.one_of_two"))
    folder = None if architecture else library().files_of(model).folder
    config = _config(architecture or Path(str(folder)) / CONFIG_NAME)
    shape = read_shape(folder) if folder else shape_of(config)
    asked = {"weights": weights, "kv_cache": kv_cache, "device": device, "context_length": context}
    options = load_options(model, asked)
    length = context_of(config, options.context_length)
    if options.context_length:  # 0 is the model's own, which the shape knows
        options = msgspec.structs.replace(options, context_length=length.length)
    devices = _devices(options)
    made = plan(shape, options, devices=devices)
    need = estimate(shape, options, device="cpu" if devices[0].name == "cpu" else "cuda")
    if as_json:
        told = _told(shape, options, need, made, devices, length.notices)
        print(json.dumps(told, ensure_ascii=False))
    else:
        _show(shape, options, need, made, devices)
        for notice in length.notices:
            print(say(f"notice.{notice.code}", **notice.params), file=sys.stderr)


def _config(file: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except OSError:
        raise UserError("import_missing", path=str(file)) from None
    except msgspec.DecodeError:
        raise UserError("config_unreadable", file=file.name, folder=str(file.parent)) from None


def _devices(options: LoadOptions) -> list[Device]:
    """Those the model may use with these options."""
    found = devices_here()
    match options.device:
        case "cpu":
            return found[-1:]
        case "auto":
            return found[:1]
        case "spread":
            return found


def _told(
    shape: Shape,
    options: LoadOptions,
    need: Footprint,
    made: DevicePlan,
    devices: list[Device],
    notices: tuple[Notice, ...],
) -> dict[str, Any]:
    return {
        "parameters": shape.parameters,
        "weights": weights_format(shape, options),
        "context_length": options.context_length or shape.context_length,
        "need": {name: getattr(need, name) for name in (*_ROWS, "total")},
        "devices": [{"name": d.name, "label": d.label, "free_bytes": d.free_bytes} for d in devices],
        "plan": [
            {"device": share.device.name, "parts": share.parts, "bytes": share.total, "weights": share.weights,
             "kv_cache": share.kv_cache, "workspace": share.workspace, "overhead": share.overhead}
            for share in made.shares
        ],
        "fits": not made.missing_bytes,
        "missing_bytes": made.missing_bytes,
        "notices": [{"code": notice.code, **notice.params} for notice in (*made.notices(), *notices)],
    }  # fmt: skip


_ROWS = ("weights", "kv_cache", "workspace", "overhead")


def _show(shape: Shape, options: LoadOptions, need: Footprint, made: DevicePlan, devices: list[Device]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    form, context = weights_format(shape, options), options.context_length or shape.context_length
    notes = {"weights": figures.precision(form), "kv_cache": say("plan.tokens", count=figures.count(context))}
    for name in _ROWS:
        note = f" ({notes[name]})" if name in notes else ""
        table.add_row(say(f"plan.{name}") + note, figures.size(getattr(need, name)))
    table.add_row(say("plan.total"), figures.size(need.total))
    for device in devices:
        table.add_row(say("plan.free", device=_name(device)), figures.size(device.free_bytes))
    console = Console()
    console.print(table)
    for share in made.shares:
        print(f"{_name(share.device)}: {described(share.parts)}, {figures.size(share.total)}")
    for notice in made.notices():
        print(say(f"notice.{notice.code}", **notice.params))
    if not made.notices():
        print(say("plan.fits"))


def _name(device: Device) -> str:
    return f"{device.name} {device.label}".strip() if device.name != "cpu" else say("plan.memory")
