"""The way to a new fine-tune in five steps: model, data, method, settings, review.

Invariant: every choice is the draft's, so the wizard can be left and built anew at any moment; a step can be opened as
soon as all before it are done, and what is missing is said beside the button that waits for it.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QStackedWidget, QWidget

from app.services.finetune_draft import STEPS, Place, Told
from app.ui import aio, shortcuts
from app.ui.finetune.making_room import begin
from app.ui.finetune.memory_foot import MemoryFoot
from app.ui.finetune.step import Step
from app.ui.notice import Notice
from app.ui.tokens import Size, Space
from app.ui.widgets.button import Button, IconButton
from app.ui.widgets.focus import holds_focus
from app.ui.widgets.layout import Elided, Line, column, pane, row
from app.ui.widgets.stepper import Stepper
from core.errors import UserError
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

MEMORY_MS = 2000


class Wizard(QWidget):
    """
    Attributes:
        head: what stands in the page's head
        steps: those that have been opened, by name

    Signals:
        left: back to the runs
        started: the id of the run that was started
        file_asked: choose the data
    """

    left = Signal()
    started = Signal(str)
    file_asked = Signal()

    def __init__(self, window: Window, context: AppContext) -> None:
        super().__init__()
        self._window, self._context, self.draft = window, context, context.finetune_draft
        self.steps: dict[str, Step] = {}
        self._building: dict[str, asyncio.Task[None]] = {}
        self._starting: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._build()
        self._end = self.draft.changed.listen(self._on_changed)
        self._watch = QTimer(self, interval=MEMORY_MS)
        self._watch.timeout.connect(lambda: aio.spawn(self.draft.measure(), "free memory"))

    def _build(self) -> None:
        back = IconButton("left", say("finetune_ui.to_runs"))
        back.clicked.connect(self.left)
        self.stepper = Stepper(say("finetune_ui.steps"), [say(f"finetune_ui.step_{name}") for name in STEPS])
        self.stepper.chosen.connect(lambda index: self.show_step(STEPS[index]))
        head = row(back, self.stepper, gap=Space.S)
        head.setContentsMargins(Space.L, 0, Space.XL, 0)
        self.head = pane(head)
        self._notice = Notice(self._window, say("finetune_ui.not_started"), (Space.XL, Space.M, Space.XL, 0))
        self._stack = QStackedWidget()
        self.memory = MemoryFoot()
        self.memory.fit_asked.connect(self._make_it_fit)
        self._rule = Line()
        whole = column(self._notice, self._stack, self._rule, self.memory, Line(), self._foot(), gap=0)
        whole.setStretch(1, 1)
        self.setLayout(whole)

    def _foot(self) -> QWidget:
        self.discard = Button(say("finetune_ui.discard"), "ghost")
        self.discard.clicked.connect(self._discard)
        self.hint = Elided("", "caption", "muted")
        self.hint.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.back = Button(say("finetune_ui.back"), "secondary")
        self.back.setToolTip(shortcuts.keys("finetune", "go_back"))
        self.back.clicked.connect(self.go_back)
        self.next = Button(say("finetune_ui.next"), "primary")
        self.next.setToolTip(shortcuts.keys("finetune", "go_on"))
        self.next.clicked.connect(self.go_on)
        line = row(self.discard, None, self.hint, self.back, self.next, gap=Space.S)
        line.setContentsMargins(Space.XL, Space.M, Space.XL, Space.M)
        foot = pane(line)
        foot.setFixedHeight(Size.PAGE_HEADER)
        return foot

    # --- life ----------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._watch.start()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._watch.stop()

    def enter(self, step: str = "") -> None:
        """It comes into view, where it was left or at a step."""
        if self._looking is None or self._looking.done():
            self._looking = aio.spawn(self._look(), "models to train")
        self.show_step(step or self.draft.step)

    async def _look(self) -> None:
        await self.draft.look_around()
        self._take_a_model()

    def _take_a_model(self) -> None:
        """Data came first: the model used last, else the first one, until another is chosen."""
        bases = [model.manifest.name for model in self.draft.models if not model.manifest.base]
        if self.draft.recipe.data and not self.draft.recipe.model and bases:
            last = self._context.preferences.settings.last_model
            self.draft.choose_model(last if last in bases else bases[0], by_itself=True)
            if self.draft.is_stale:
                self.draft.check()

    def leave(self) -> None:
        self._end()
        self._watch.stop()
        for task in (*self._building.values(), self._looking):
            if task is not None:
                task.cancel()
        for step in self.steps.values():
            step.leave()

    # --- steps ------------------------------------------------------------------------------

    def show_step(self, name: Place | str) -> None:
        """As far as it can be opened."""
        index = min(STEPS.index(name), self.draft.reachable() - 1) if name in STEPS else 0
        if name == "data" and self.draft.recipe.data:
            index = 1  # a file was dropped: it is looked at even before there is a model
        step = STEPS[index]
        self.draft.go(step)
        if step not in self.steps:
            made = self.steps[step] = _make(step, self)
            self._stack.addWidget(made)
            self._building[step] = aio.spawn(self._fill(made), f"build {step}")
        self._stack.setCurrentWidget(self.steps[step])
        if self.steps[step].is_built:
            self.steps[step].enter()
        self._notice.clear()
        self._show_frame()
        self._hold_focus()

    def _hold_focus(self) -> None:
        """A step that has gone must not hand its focus to just anybody."""
        target = self.next if self.next.isEnabled() else self.stepper
        if self.isVisible() and not holds_focus(self.steps[self.draft.step]):
            target.setFocus(Qt.FocusReason.OtherFocusReason)

    async def _fill(self, step: Step) -> None:
        for _ in step.build():
            await asyncio.sleep(0)
        step.is_built = True
        step.enter()
        self._show_frame()

    def go_on(self) -> None:
        index = STEPS.index(self.draft.step)
        if not self.next.isEnabled():
            return
        if index + 1 < len(STEPS):
            self.show_step(STEPS[index + 1])
        else:
            self.start()

    def go_back(self) -> None:
        index = STEPS.index(self.draft.step)
        if index:
            self.show_step(STEPS[index - 1])
        else:
            self.left.emit()

    def _on_changed(self, told: Told) -> None:
        shown = self.steps.get(self.draft.step)
        if shown is not None and shown.is_built:
            shown.show_draft(told)
        self._show_frame()

    def _show_frame(self) -> None:
        """What stands around the steps."""
        draft, index = self.draft, STEPS.index(self.draft.step)
        is_last = index + 1 == len(STEPS)
        self.stepper.show_steps(index, draft.reachable())
        hindrances = [h for step in STEPS[: index + 1] if (h := draft.hindrance(step))]
        plan = draft.plan() if is_last else None
        warned = "would_stop" if plan is not None and plan.verdict == "too_big" else ""
        said = hindrances[0] if hindrances else warned
        self.hint.setText(say(f"finetune_ui.{said}") if said else "")
        words = say("finetune_ui.start" if is_last else "finetune_ui.next")
        if self.next.text() != words:
            self.next.setText(words)
            self.next.setAccessibleName(words)
            self.next.updateGeometry()
        self.next.setEnabled(not hindrances and self._starting is None)
        self.discard.setVisible(draft.is_begun)
        with_memory = index >= STEPS.index("method")
        if with_memory:
            self.memory.show_draft(draft)
        self.memory.setVisible(with_memory and draft.subject is not None)
        self._rule.setVisible(not self.memory.isHidden())

    # --- verbs -------------------------------------------------------------------------------

    def _make_it_fit(self) -> None:
        """The fewest changes that are enough; where none are, all that can be had are shown."""
        found = self.draft.made_to_fit()
        if found is not None and found != self.draft.recipe:
            before = self.draft.recipe
            self.draft.take(found)
            undo = lambda: self.draft.take(before)  # noqa: E731
            self._window.notify("ok", say("finetune_ui.made_to_fit"), say("chat.undo"), undo, page=self)
        else:
            self.show_step("review")
            if found is None:
                self._window.notify("warn", say("finetune_ui.nothing_fits"), page=self)

    def _discard(self) -> None:
        kept = self.draft.keep()
        self.draft.clear()
        self.left.emit()
        undo = lambda: self.draft.restore(kept)  # noqa: E731
        self._window.notify("info", say("finetune_ui.discarded"), say("chat.undo"), undo)

    def start(self) -> None:
        if self._starting is None:
            self._starting = aio.spawn(self._start(), "start fine-tune")
            self._show_frame()

    async def _start(self) -> None:
        self._notice.clear()
        recipe, plan = self.draft.recipe, self.draft.plan()
        needed = plan.footprint.total if plan is not None else 0
        start = partial(self._context.training.start, recipe)
        try:
            id = await begin(self._window, self._context, recipe, needed, start)
        except UserError as error:
            self.tell(error)
        else:
            if id is not None:
                self.draft.clear()
                self.started.emit(id)
        finally:
            self._starting = None
            self._show_frame()

    def failed(self) -> str:
        """The error that stands above the step, "" when none does."""
        return self._notice.words

    def tell(self, error: UserError) -> None:
        self._notice.tell(error)


def _make(name: str, wizard: Wizard) -> Step:
    """Steps are imported when they are first opened."""
    window, context = wizard._window, wizard._context
    if name == "model":
        from app.ui.finetune.model_step import ModelStep

        return ModelStep(window, context)
    if name == "data":
        from app.ui.finetune.data_step import DataStep

        step = DataStep(window, context)
        step.file_asked.connect(wizard.file_asked)
        return step
    if name == "method":
        from app.ui.finetune.method_step import MethodStep

        return MethodStep(window, context)
    if name == "settings":
        from app.ui.finetune.settings_step import SettingsStep

        return SettingsStep(window, context)
    from app.ui.finetune.review_step import ReviewStep

    return ReviewStep(window, context)
