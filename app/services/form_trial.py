"""Has measured once how fast the forms of weights are on this processor: when the first model lies in memory and rests.

Invariant: nobody waits for it, nothing is measured twice, and what was measured while a reply ran is not kept waiting
for: it is tried again at the next rest.
"""

from __future__ import annotations

import asyncio
import logging

from app.services.events import Event
from app.services.inference import InferenceService, ModelState
from core.errors import UserError
from core.profiling import form_speeds
from core.profiling.form_speeds import FormSpeeds

log = logging.getLogger("profiling")

REST_S = 4.0  # after the model has become ready, in which people often begin to type


class FormTrial:
    """
    Attributes:
        changed: emitted with what was measured
    """

    def __init__(self, inference: InferenceService) -> None:
        self.changed: Event[FormSpeeds] = Event()
        self._inference = inference
        self._known: FormSpeeds | None = None
        self._has_looked = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._end = inference.changed.listen(self._on_model)

    def known(self) -> FormSpeeds | None:
        if not self._has_looked:
            self._has_looked, self._known = True, form_speeds.known()
        return self._known

    def _on_model(self, state: ModelState) -> None:
        loaded = state.loaded
        if state.phase != "ready" or loaded is None or loaded.device != "cpu" or self._timer is not None:
            return
        self._timer = asyncio.get_running_loop().call_later(REST_S, self._try)

    def _try(self) -> None:
        self._timer = None
        if self._task is None and self._inference.state.phase == "ready" and self._inference.is_idle:
            self._task = asyncio.get_running_loop().create_task(self._measure(), name="speeds of the forms")

    async def _measure(self) -> None:
        try:
            if await asyncio.to_thread(self.known) is None:
                await self._inference.measure_forms()
                self._known = await asyncio.to_thread(form_speeds.known)
                if self._known is not None:
                    self.changed.emit(self._known)
        except (UserError, RuntimeError, OSError) as error:  # worth a line, no more
            log.warning("the forms of weights were not measured: %s", error)
        finally:
            self._task = None

    async def close(self) -> None:
        self._end()
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
