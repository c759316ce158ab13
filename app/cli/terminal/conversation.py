"""A conversation at a terminal: from the welcome to the end, questions and commands in turn.

Invariant: an error is told and the conversation goes on; only `:exit`, Ctrl-D and a signal from outside end it.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine

from app import crash
from app.cli.screen import clear_progress, show_progress
from app.cli.session import inference
from app.cli.talk import Reply, Talk
from app.cli.terminal import commands, conf, told
from app.cli.terminal.commands import Command, Slip
from app.cli.terminal.conf import Conf
from app.cli.terminal.keys import unseen
from app.cli.terminal.prompt import Prompt
from app.cli.terminal.screen import screen
from app.services.inference import InferenceService, ModelState
from core.chat.turns import Sampling
from core.errors import UserError
from core.load_options import LoadOptions
from core.paths import terminal_history
from core.translation import say

PATIENCE_S = 2.0  # after which another Ctrl-C ends a model process that does not stop
INTERRUPTED, TERMINATED = 130, 128 + 15
NOTHING = ('""', "''")  # how an empty system prompt is written


async def converse(model: str, system: str, sampling: Sampling, adapter_folder: str, options: LoadOptions) -> int:
    """The exit code. Raises UserError where the model cannot be loaded."""
    talk = Talk(model, system, sampling, adapter_folder, screen(folds=True))
    async with inference(options) as service:
        return await Conversation(talk, service).run()


class Conversation:
    def __init__(self, talk: Talk, service: InferenceService) -> None:
        self._talk, self._service = talk, service
        self._start = Conf(talk.sampling)
        self._prompt: Prompt | None = None
        self._stop: Callable[[], object] | None = None  # ends what is under way
        self._interrupted_at = 0.0
        self._can_chat = True
        self._answerer = talk.model
        self._dropped_turns = 0

    async def run(self) -> int:
        """The exit code."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        ends = (signal.SIGTERM, signal.SIGHUP)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        for number in ends:
            loop.add_signal_handler(number, task.cancel)
        try:
            if not await self._load():
                return INTERRUPTED
            self._welcome()
            await self._converse()
        except asyncio.CancelledError:
            return TERMINATED
        finally:
            for number in (signal.SIGINT, *ends):
                loop.remove_signal_handler(number)
        return 0

    async def _load(self) -> bool:
        """False where Ctrl-C came first."""
        if self._service.is_elsewhere(self._talk.model):
            return True
        unlisten = self._service.changed.listen(_show_loading)
        loading = asyncio.ensure_future(self._service.load(self._talk.model))
        self._stop, self._interrupted_at = loading.cancel, 0.0
        try:
            with unseen(self._talk.screen.begin_anew):
                loaded = await loading
        except asyncio.CancelledError:
            self._service.kill()  # it would import to the end before it obeyed
            if not self._interrupted_at:
                raise
            return False
        finally:
            self._stop = None
            unlisten()
            clear_progress()
        self._talk.tell_notices(self._service)
        self._can_chat = loaded.can_chat
        if all(notice.code != "not_a_qwen" for notice in loaded.notices):
            self._answerer = "QWen"  # as Qwen's own demo signs them
        return True

    def _interrupt(self) -> None:
        """Ctrl-C while a reply or the loading is under way, and the signal from outside."""
        now = time.monotonic()
        if self._stop is None:
            if self._prompt is not None:
                self._prompt.interrupt()
            return
        if self._interrupted_at and now - self._interrupted_at > PATIENCE_S:
            self._service.kill()
        self._interrupted_at = self._interrupted_at or now
        self._stop()

    # --- the loop -------------------------------------------------------------------

    async def _converse(self) -> None:
        self._prompt = Prompt(terminal_history(), say("terminal.prompt" if self._can_chat else "terminal.prompt_base"))
        while True:
            try:
                line = await self._prompt.read()
            except KeyboardInterrupt:
                if self._prompt.is_empty:
                    told.tell(say("terminal.how_to_leave"), told.DIM)
                continue
            except EOFError:
                return
            match commands.read(line):
                case Command("exit"):
                    return
                case Command() as command:
                    await self._obey(command)
                case Slip() as slip:
                    told.tell(slip.told)
                case text:
                    await self._ask(text)

    async def _ask(self, text: str) -> None:
        if text.strip():
            is_escaped = text.startswith(" ") and text.lstrip().startswith((":", "："))
            question = text.strip() if self._can_chat else text.lstrip() if is_escaped else text
            await self._answer(self._talk.ask(self._service, question))
        elif self._can_chat:
            told.tell(say("terminal.blank"))
        else:
            await self._go_on()

    async def _answer(self, reply: Coroutine[None, None, Reply]) -> None:
        kept = self._talk.turns
        self._stop, self._interrupted_at = lambda: self._talk.stop(self._service), 0.0
        try:
            with unseen(self._talk.screen.begin_anew):
                done = await reply
        except UserError as error:
            told.tell(str(error))
        except RuntimeError as error:  # a bug of the model process, which the conversation survives
            told.tell(say("error.bug", what=str(error).partition("\n")[0]))
            told.tell(say("cli.report_at", file=str(crash.save_report(error))))
        else:
            self._tell_end(done, is_kept=self._talk.turns is not kept)
            return
        finally:
            self._stop = None
        if self._talk.turns is not kept:
            is_elsewhere = self._service.is_elsewhere(self._talk.model)
            told.tell(say("terminal.kept_elsewhere" if is_elsewhere else "terminal.kept") + "\n", told.DIM)

    def _tell_end(self, reply: Reply, *, is_kept: bool) -> None:
        match reply.end.reason:
            case "cancelled":
                told.tell(say("terminal.stopped" if is_kept else "terminal.stopped_empty"), told.DIM)
            case "length":
                told.tell(say("terminal.length", limit=self._talk.sampling.max_new_tokens))
            case "context_full":
                told.tell(say("terminal.context_full"))
            case _:
                pass
        if reply.dropped_turns > self._dropped_turns:
            told.tell(say("terminal.dropped", count=reply.dropped_turns))
        self._dropped_turns = reply.dropped_turns
        if reply.end.figures is not None and is_kept:
            told.reply_figures(reply.end.figures)
        told.tell("")

    # --- commands -------------------------------------------------------------------

    async def _obey(self, command: Command) -> None:
        try:
            match command.name:
                case "retry":
                    await self._retry()
                case "continue":
                    await self._go_on()
                case _:
                    self._do(command)
        except UserError as error:
            told.tell(str(error))

    def _do(self, command: Command) -> None:
        """Raises UserError."""
        talk = self._talk
        match command.name:
            case "help":
                told.help()
            case "clear":
                told.clear()
                self._welcome()
            case "clear-history":
                told.tell(say("terminal.cleared", count=sum(turn.role == "user" for turn in talk.turns)))
                talk.turns, self._dropped_turns = [], 0
            case "history":
                told.history(talk.turns, self._answerer)
            case "seed":
                self._seed(command.argument)
            case "conf":
                self._configure(command.argument)
            case "reset-conf":
                self._take(self._start)
                told.tell(say("terminal.conf_reset"))
            case "system":
                self._system(command.argument)
            case "thinking":
                thought = next((turn.thinking for turn in reversed(talk.turns) if turn.role == "assistant"), "")
                told.tell(thought or say("terminal.no_thinking"), told.DIM)
            case "save":
                self._save(command.argument)
            case _:
                pass

    async def _retry(self) -> None:
        if not self._talk.turns:
            told.tell(say("terminal.nothing_yet"))
            return
        await self._answer(self._talk.ask_again(self._service))

    async def _go_on(self) -> None:
        if not self._talk.turns:
            told.tell(say("terminal.nothing_yet"))
            return
        await self._answer(self._talk.go_on(self._service))

    def _welcome(self) -> None:
        told.welcome(self._talk.model, can_chat=self._can_chat)

    def _seed(self, text: str) -> None:
        if text:
            self._take(conf.changed(self._conf, [("seed", text)], self._start))
        seed = self._talk.sampling.seed
        told.tell(say("terminal.seed", seed=seed) if seed is not None else say("terminal.seed_none"))

    def _configure(self, text: str) -> None:
        items = conf.items(text)
        wanted = [(key, value) for key, value in items if value is not None]
        now = conf.changed(self._conf, wanted, self._start)
        told.settings(now, list(dict.fromkeys(key for key, _ in items)))
        self._take(now)
        loaded = self._service.state.loaded
        if "thinking" in (key for key, _ in wanted) and now.thinking and loaded and not loaded.can_think:
            told.tell(say("terminal.cannot_think"))

    @property
    def _conf(self) -> Conf:
        return Conf(self._talk.sampling, self._talk.thinking)

    def _take(self, now: Conf) -> None:
        self._talk.sampling, self._talk.thinking = now.sampling, now.thinking

    def _system(self, text: str) -> None:
        if text:
            self._talk.system = "" if text in NOTHING else text
        key = "terminal.system" if self._talk.system else "terminal.system_none"
        told.tell(say(key, text=self._talk.system))

    def _save(self, file: str) -> None:
        if not self._talk.turns or not file:
            told.tell(say("terminal.nothing_yet" if file else "terminal.save_where"))
            return
        talk = self._talk
        told.tell(say("terminal.saved", file=str(told.save(file, talk.model, talk.system, talk.turns))))


def _show_loading(state: ModelState) -> None:
    if state.progress is not None:
        show_progress(state.progress)
