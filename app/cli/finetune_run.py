"""`qwen-workbench finetune run` and `resume`: a fine-tune from a recipe or from the flags of the published scripts.

Invariant: the run belongs to its own process and folder, so it is the window's as well; Ctrl-C stops it in order and
keeps what it has learned, a second one only stops looking. Exit code 130 says that it was stopped.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from app.cli import script_flags
from app.cli.run_news import JsonNews, News, ScreenNews
from app.cli.session import library, training
from app.services.inference import as_error
from app.services.training import Run, TrainingService
from core import hardware
from core.errors import UserError
from core.models.steps import result
from core.protocol.messages import Failed, Progress
from core.run_dir import Step
from core.training import exporting, recipe
from core.training.recipe import Recipe
from core.training.run_files import RESULT, RunFiles, slug
from core.translation import say

STOPPED = 130
DOOR_S = 0.2

AsJson = Annotated[bool, typer.Option("--json", help=say("finetune.help_run_json"))]
Detach = Annotated[bool, typer.Option("--detach", help=say("finetune.help_detach"))]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=say("finetune.help_set"))]
RunId = Annotated[str, typer.Argument(metavar="RUN", help=say("finetune.help_id"))]
# What follows is read here: a recipe file, or flags of the scripts.
LOOSE = {"allow_extra_args": True, "ignore_unknown_options": True}


def run_training(context: typer.Context, as_json: AsJson = False, detach: Detach = False, set_: Set = None) -> None:
    asked, out = _asked(context.args, set_ or [])
    code = asyncio.run(_run(asked, out, news(as_json), detach=detach))
    if code:
        raise typer.Exit(code)


def resume_training(run: RunId, as_json: AsJson = False, detach: Detach = False) -> None:
    code = asyncio.run(_resume(run, news(as_json), detach=detach))
    if code:
        raise typer.Exit(code)


def news(as_json: bool) -> News:
    return JsonNews() if as_json else ScreenNews()


# --- what is asked for ---------------------------------------------------------------


def _asked(arguments: list[str], changes: list[str]) -> tuple[Recipe, Path | None]:
    """The recipe, and where its result shall be copied.

    Raises:
        UserError: of the recipe.
    """
    values: dict[str, Any]
    out: Path | None = None
    rows = 0  # of each device, where they are counted so
    beside = Path.cwd()
    if arguments and not arguments[0].startswith("-"):
        if len(arguments) > 1:
            raise typer.BadParameter(script_flags.beside_a_recipe(arguments[1:]))
        file = Path(arguments[0])
        values, beside = msgspec.to_builtins(recipe.read(file)), file.absolute().parent
    elif arguments:
        script = script_flags.read(arguments, len(hardware.usable_cards()))
        values, out, rows = script.values, script.out, script.rows
        _need_flags(values, changes)
        if script.unused:
            flags = ", ".join(f"--{flag}" for flag in script.unused)
            print(say("finetune.flags_unused", flags=flags), file=sys.stderr)
    elif changes:
        values = {}
    else:
        raise typer.BadParameter(say("finetune.nothing_asked"))
    changed = dict(_change(change) for change in changes)
    values |= changed
    if rows and "batch" not in changed and isinstance(devices := values.get("devices", 1), int):
        values["batch"] = rows * devices
    for key in ("data", "eval_data"):
        if values.get(key):
            values[key] = str(_place(str(values[key]), beside))
    if values.get("model"):
        values["model"] = _model(str(values["model"]))
    return recipe.made(values), out


def _need_flags(values: dict[str, Any], changes: list[str]) -> None:
    """
    Raises:
        typer.BadParameter: a flag that nothing can do without.
    """
    given = {*values, *(change.partition("=")[0].strip() for change in changes)}
    for key, flag in (("model", "--model_name_or_path"), ("data", "--data_path")):
        if key not in given:
            raise typer.BadParameter(say("finetune.flag_needed", flag=flag))


def _change(change: str) -> tuple[str, Any]:
    key, equals, value = change.partition("=")
    if not equals:
        raise typer.BadParameter(say("finetune.set_form"), param_hint="'--set'")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:  # a text without quotes
        return key.strip(), value


def _place(data: str, beside: Path) -> Path:
    """Seen from where the command is given, else from where the recipe lies."""
    here = Path(data).expanduser().absolute()
    return here if here.exists() else beside / Path(data).expanduser()


def _model(asked: str) -> str:
    """As the library knows it: scripts name models by their hub, and by folders that may be relative."""
    if (Path(asked).expanduser() / "config.json").is_file():
        return str(Path(asked).expanduser().absolute())
    known = library()
    try:
        return known.find(asked).manifest.name
    except UserError:
        if "/" not in asked:
            raise
        return known.find(asked.rstrip("/").rpartition("/")[2]).manifest.name


# --- following ------------------------------------------------------------------------


async def _run(asked: Recipe, out: Path | None, shown: News, *, detach: bool) -> int:
    async with training() as service:
        id = await service.start(asked)
        if asked.name and id != asked.name:
            plain = slug(asked.name)
            key = "finetune.name_taken" if plain != id else "finetune.name_changed"
            print(say(key, name=plain if plain != id else asked.name, run=id), file=sys.stderr)
        if detach and out is not None:
            print(say("finetune.not_copied", folder=str(out), run=id), file=sys.stderr)
        return await _shown(service, id, shown, None if detach else out, detach=detach)


async def _resume(run: str, shown: News, *, detach: bool) -> int:
    async with training() as service:
        await service.open()
        id = found(service, run).id
        await service.resume(id)
        return await _shown(service, id, shown, None, detach=detach)


def found(service: TrainingService, run: str) -> Run:
    """By its id, as the list may shorten it too, or its folder. Raises UserError when there is none."""
    begun = [one for one in service.runs if run.endswith("…") and one.id.startswith(run[:-1])]
    if len(begun) == 1:
        return begun[0]
    place = Path(run).expanduser()
    known = {one.path.resolve(): one for one in service.runs}
    return known.get(place.resolve()) or service.run(run)


async def _shown(service: TrainingService, id: str, shown: News, out: Path | None, *, detach: bool) -> int:
    shown.started(service.run(id), is_left=detach)
    if detach:
        return 0
    following = _Following(service, id, shown)
    if not await following.until_over():
        print(say("finetune.left", run=id), file=sys.stderr)
        return STOPPED
    ended = service.run(id)
    left = ended.path / RESULT
    copied = await asyncio.to_thread(result, exporting.put_into(left, out)) if out and left.is_dir() else None
    shown.ended(ended, copied)
    if isinstance(ended.status.end, Failed):
        raise as_error(ended.status.end)
    if ended.status.state == "interrupted":
        raise UserError("run_interrupted", step=ended.status.step, count=ended.status.step)
    if following.was_stopped:
        print(say("finetune.how_to_resume", run=id), file=sys.stderr)
        return STOPPED
    return 0


class _Following:
    """Passes on what a run tells, until it is over or nobody wants to look any more."""

    def __init__(self, service: TrainingService, id: str, shown: News) -> None:
        self._service, self._id, self._shown = service, id, shown
        self._over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._stopping: asyncio.Task[None] | None = None
        self._progress: Progress | None = None
        service.stepped.listen(self._on_steps)
        service.changed.listen(self._on_change)
        service.saved.listen(self._on_saved)
        service.ended.listen(self._on_end)

    @property
    def was_stopped(self) -> bool:
        return self._stopping is not None

    async def until_over(self) -> bool:
        """False when it was let go while it is at work."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._on_ctrl_c)
        try:
            return await self._over
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            if self._stopping is not None:
                self._stopping.cancel()
                await asyncio.gather(self._stopping, return_exceptions=True)

    def _on_ctrl_c(self) -> None:
        if self._stopping is None:
            print(say("finetune.stopping"), file=sys.stderr)
            self._stopping = asyncio.get_running_loop().create_task(self._stop(), name="stop run")
        elif not self._over.done():
            self._over.set_result(False)

    async def _stop(self) -> None:
        while self._service.run(self._id).status.is_alive:
            try:
                await self._service.stop(self._id)
                return
            except UserError:  # it has only just been started, and has no door yet
                await asyncio.sleep(DOOR_S)

    def _on_steps(self, told: tuple[str, list[Step]]) -> None:
        if told[0] == self._id:
            self._shown.stepped(self._service.run(self._id), told[1])

    def _on_change(self, id: str) -> None:
        progress = self._service.run(self._id).progress
        if id == self._id and progress is not None and progress != self._progress:
            self._progress = progress
            self._shown.progressed(progress)

    def _on_saved(self, id: str) -> None:
        run = self._service.run(self._id)
        if id == self._id and (steps := RunFiles(run.path).saved_steps()):
            self._shown.saved(run, steps[-1])

    def _on_end(self, run: Run) -> None:
        if run.id == self._id and not self._over.done():
            self._over.set_result(True)
