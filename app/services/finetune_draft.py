"""A fine-tune that is being put together: model, data, recipe, and what is known of each. No Qt, no torch.

Invariant: it outlives the pages that show it, so nothing chosen is lost when a page is left or built anew; it starts
nothing and writes no file but those it is asked for by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Literal

import msgspec

from app.services import fitting, machine, training_plan
from app.services.badges import Badge, badges
from app.services.datasets import DatasetService
from app.services.events import Event
from app.services.fitting import Room, Subject
from app.services.inference import InferenceService, as_error
from app.services.installed import Installed
from app.services.library import LibraryService
from app.services.training_plan import Proposal, TrainingPlan
from core.data.report import DataReport
from core.data.shape import Columns
from core.errors import UserError
from core.protocol.messages import DataChecked, DataFile, DataMended, Failed, Progress, RowShown
from core.training import presets
from core.training.recipe import Method, Recipe

Place = Literal["model", "data", "method", "settings", "review"]
Told = Literal["models", "model", "data", "checking", "recipe", "room"]

STEPS: tuple[Place, ...] = ("model", "data", "method", "settings", "review")
METHODS: tuple[Method, ...] = ("lora", "qlora", "full")
EMPTY = Recipe(model="", data="")


class FinetuneDraft:
    """
    Attributes:
        changed: emitted with what is another now
        step: the one in view; is_begun: the user has chosen something
        recipe: everything chosen; preset: the name of the one it was taken from, "" once more was changed
        models, memory: those on this machine, and for each the badges of the ways to train it
        subject: what decides the size of the chosen model, None while it is not known
        report: of the data file, None before it has been checked; error: why it could not be
        progress: of the check that runs, None while there is none
        row: the row looked at, from 1; expanded: all settings are in view
    """

    def __init__(
        self,
        datasets: DatasetService,
        library: LibraryService,
        inference: InferenceService,
        speed: Callable[[str, str, int], float] = lambda model, method, devices: 0.0,
    ) -> None:
        """speed: tokens a second that a model has been trained with here in a way on so many devices, 0 where not"""
        self.changed: Event[Told] = Event()
        self._speed = speed
        self._datasets, self._library, self._inference = datasets, library, inference
        self.models: list[Installed] = []
        self.memory: dict[str, dict[str, Badge]] = {}
        self.room = self._now = Room(0)
        self._subjects: dict[str, Subject] = {}
        self._checked: tuple[DataFile, float, str] | None = None
        self._checking: asyncio.Task[None] | None = None
        self._clear()

    def _clear(self) -> None:
        self.step: Place = "model"
        self.is_begun = False
        self.recipe = EMPTY
        self.preset = ""
        self.report: DataReport | None = None
        self.error: UserError | None = None
        self.progress: Progress | None = None
        self.row = 1
        self.expanded = False

    def clear(self) -> None:
        """Begin anew."""
        self.stop_check()
        self._clear()
        self.changed.emit("model")
        self.changed.emit("data")
        self.changed.emit("recipe")

    def keep(self) -> tuple[Recipe, Place, DataReport | None]:
        """What restore() takes."""
        return self.recipe, self.step, self.report

    def restore(self, kept: tuple[Recipe, Place, DataReport | None]) -> None:
        """Undo clear()."""
        recipe, self.step, self.report = kept
        self.take(recipe)
        self.changed.emit("model")
        self.changed.emit("data")

    async def close(self) -> None:
        if (checking := self._checking) is not None:
            checking.cancel()
            await asyncio.gather(checking, return_exceptions=True)

    # --- the machine -------------------------------------------------------------------

    async def look_around(self) -> None:
        """The models that are here, and the memory that is free."""
        self.models = await self._library.installed()
        await self.measure()
        await asyncio.to_thread(self._read_shapes, [one for one in self.models if not one.manifest.base])
        self._estimate()
        names = [model.manifest.name for model in self.models]
        if self.recipe.model and self.recipe.model not in names:
            self.change(model="")
        self.changed.emit("models")

    async def measure(self) -> None:
        """How much memory is free now, once the model that is loaded has gone."""
        reading = await machine.read()
        free, now = fitting.room(reading, self._inference.state.loaded), fitting.room(reading)
        if (free, now) != (self.room, self._now):
            self.room, self._now = free, now
            self._estimate()
            self.changed.emit("room")

    def _read_shapes(self, models: Sequence[Installed]) -> None:
        for model in models:
            name = model.manifest.name
            try:
                self._subjects[name] = fitting.look_now(name, model.files_folder, bool(model.manifest.gguf))
            except (OSError, ValueError, UserError):
                self._subjects.pop(name, None)  # what is wrong with it is said when it is verified

    def _estimate(self) -> None:
        self.memory = {
            name: {form: badge for form, badge in badges(subject, self.room).items() if form in METHODS}
            for name, subject in self._subjects.items()
        }

    # --- choices ------------------------------------------------------------------------

    @property
    def subject(self) -> Subject | None:
        return self._subjects.get(self.recipe.model)

    @property
    def model(self) -> Installed | None:
        return next((one for one in self.models if one.manifest.name == self.recipe.model), None)

    def choose_model(self, name: str, *, by_itself: bool = False) -> None:
        """by_itself: nobody has asked for it, it was the only one or the last one used"""
        was_begun = self.is_begun
        subject = self._subjects.get(name)
        changes: dict[str, object] = {"model": name}
        if subject is not None and subject.shape.quantised is not None:
            changes["method"] = "qlora"
        self.change(**changes)
        self.is_begun = was_begun or not by_itself
        self.changed.emit("model")

    def choose_data(self, file: Path) -> None:
        """Another file: what was known of the last one is gone, and the check begins."""
        self.is_begun = True
        self.report, self.error, self.row = None, None, 1
        self.change(data=str(file), columns={})
        self.check()

    def choose_columns(self, columns: Columns) -> None:
        self.change(columns={key: value for key, value in msgspec.structs.asdict(columns).items() if value})
        self.check()

    def change(self, preset: str = "", /, **values: object) -> None:
        """Other settings; those of a preset carry its name."""
        recipe = msgspec.structs.replace(self.recipe, **values)
        if recipe != self.recipe or preset != self.preset:
            self.is_begun = True
            self.recipe, self.preset = recipe, preset
            self.changed.emit("recipe")

    def take_preset(self, name: str) -> None:
        """How to learn, by one of the recipes that come with the program; a way that is closed is not taken.

        Raises:
            UserError: preset_needs_devices
        """
        recipe = presets.applied(name, self.recipe, max(1, len(self.room.cards)))
        if self.refusal(recipe.method):
            recipe = msgspec.structs.replace(recipe, method=self.recipe.method)
        self.change(name, **msgspec.structs.asdict(recipe))

    def take(self, recipe: Recipe) -> None:
        """A whole recipe, as a proposal makes it."""
        self.change(**msgspec.structs.asdict(recipe))

    def go(self, step: Place) -> None:
        self.step = step

    def hindrance(self, step: Place) -> str:
        """Why one cannot go on from a step: `finetune_ui.<this>`, "" where one can."""
        if step == "model":
            return "" if self.recipe.model else "needs_model"
        if step == "data":
            if not self.recipe.data:
                return "needs_data"
            if self._checking is not None:
                return "needs_check"
            if self.report is None:
                return "needs_readable"
            if not self.report.columns.is_enough:
                return "needs_columns"
            return "" if self.report.usable_rows else "needs_rows"
        if step == "method":
            return self.refusal(self.recipe.method)
        return ""

    def reachable(self) -> int:
        """How many steps can be opened: up to the first that is not done."""
        for place, step in enumerate(STEPS):
            if self.hindrance(step):
                return place + 1
        return len(STEPS)

    def refusal(self, method: str) -> str:
        """Why the chosen model cannot be trained in this way, as of hindrance()."""
        quantised = self.subject is not None and self.subject.shape.quantised is not None
        return "full_of_quantised" if quantised and method == "full" else ""

    # --- what it will take -----------------------------------------------------------------

    def plan(self, method: Method | None = None) -> TrainingPlan | None:
        """None while the model is not known. method: another one than chosen"""
        if self.subject is None:
            return None
        recipe = msgspec.structs.replace(self.recipe, method=method) if method else self.recipe
        speed = self._speed(recipe.model, recipe.method, recipe.devices)
        return training_plan.plan(recipe, self.subject, self.room, self.report, speed)

    @property
    def misses_chat_memory(self) -> bool:
        """A model is loaded for chatting, and beside it there would be too little memory."""
        plan = self.plan()
        if plan is None or self._inference.state.phase != "ready":
            return False
        return plan.footprint.total > fitting.TIGHT_FROM * training_plan.free_for(self.recipe, self._now)

    def proposals(self) -> list[Proposal]:
        return training_plan.proposals(self.recipe, self.subject, self.room, self.report) if self.subject else []

    def made_to_fit(self) -> Recipe | None:
        return training_plan.made_to_fit(self.recipe, self.subject, self.room, self.report) if self.subject else None

    # --- the data ------------------------------------------------------------------------------

    @property
    def is_checking(self) -> bool:
        return self._checking is not None

    @property
    def data_file(self) -> DataFile:
        """The file as the worker is asked for it."""
        recipe, model = self.recipe, self.model
        folder = str(model.files_folder) if model is not None else ""
        return DataFile(recipe.data, Columns(**recipe.columns), folder, recipe.mask, recipe.length)

    @property
    def is_stale(self) -> bool:
        """The report is of another length, mask or model than those chosen now."""
        return self.report is not None and self._checked != self._asked()

    def _asked(self) -> tuple[DataFile, float, str]:
        """What a report hangs on."""
        recipe = self.recipe
        return self.data_file, 0.0 if recipe.eval_data else recipe.validation_share, recipe.eval_data

    def check(self) -> None:
        """Look at the data; what is being looked at already is given up."""
        self.stop_check()
        self._checking = asyncio.get_running_loop().create_task(self._check(), name="check training data")
        self.changed.emit("checking")

    def stop_check(self) -> None:
        if self._checking is not None:
            self._checking.cancel()
            self._checking, self.progress = None, None
            self.changed.emit("checking")

    async def _check(self) -> None:
        this = asyncio.current_task()
        asked = data, share, eval_data = self._asked()
        work = self._datasets.check(data, validation_share=share, eval_data=eval_data)
        report, error = None, None
        try:
            async with aclosing(work) as events:
                async for event in events:
                    if isinstance(event, DataChecked):
                        report = event.report
                    elif isinstance(event, Failed):
                        raise as_error(event)
                    elif isinstance(event, Progress) and self._checking is this:
                        self.progress = event
                        self.changed.emit("checking")
        except UserError as failure:
            error = failure
        if self._checking is this:
            self.report, self.error, self._checked = report, error, asked
            self._checking, self.progress = None, None
            self.row = min(self.row, report.rows) if report is not None else 1
            if self.is_stale:  # something else was chosen meanwhile
                self.check()
            self.changed.emit("data")

    async def read_row(self) -> RowShown:
        """The row looked at. Raises UserError."""
        return await self._datasets.row(self.data_file, self.row)

    def mended_name(self) -> Path:
        """A free name beside the original for its mended copy."""
        file = Path(self.recipe.data)
        ending = ".jsonl" if self.report is not None and self.report.kind == "parquet" else file.suffix
        stems = [f"{file.stem}-mended", *(f"{file.stem}-mended-{number}" for number in range(2, 100))]
        return next(place for stem in stems if not (place := file.with_name(stem + ending)).exists())

    async def mend(self, target: Path, fix: Sequence[str], drop: Sequence[str] = ()) -> DataMended:
        """Write a mended copy and go on with it.

        Raises:
            UserError: as MendData may fail.
        """
        done: DataMended | None = None
        async with aclosing(self._datasets.mend(self.data_file, target, fix, drop)) as events:
            async for event in events:
                if isinstance(event, DataMended):
                    done = event
                elif isinstance(event, Failed):
                    raise as_error(event)
        if done is None:
            raise UserError("data_check_stopped")
        columns = self.recipe.columns
        self.choose_data(target)
        if columns:
            self.choose_columns(Columns(**columns))
        return done
