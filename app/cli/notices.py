"""What is worth knowing of a loaded model, said once on stderr. Invariant: stdout stays what scripts read."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from app.cli.screen import clear_progress
from app.services.inference import InferenceService
from app.services.remote.engines import RemoteNews
from core.load_options import DEFAULT
from core.remote_engine import RemoteEngine, RemoteModel
from core.translation import say

# Facts that stand with the model in the window and in `models show`; at every call they would hide what is news.
UNSAID = frozenset({"not_a_qwen", "code_never_run"})
OF_SYSTEM_PROMPTS = frozenset({"system_prompt_weak"})


def tell_kept(model: str, in_force: Mapping[str, str | int]) -> None:
    """Options of the window that rule this command too. in_force: by their names in LoadOptions."""
    kept = {name: value for name, value in in_force.items() if value != getattr(DEFAULT, name)}
    if kept:
        override = {name: getattr(DEFAULT, name) for name in kept}
        print(say("cli.kept_options", name=model, options=flags(kept), override=flags(override)), file=sys.stderr)


def tell_remote(news: RemoteNews) -> None:
    clear_progress()
    print(say(f"notice.{news.notice.code}", **news.notice.params), file=sys.stderr)


def tell_unlisted(engine: RemoteEngine, model: RemoteModel) -> None:
    """Of a model that was not chosen when its machine was added: the server may answer with another one."""
    if engine.models and model not in engine.models:
        names = ", ".join(map(engine.called, engine.models))
        print(say("remote.unlisted", name=engine.called(model), models=names), file=sys.stderr)


def flags(options: Mapping[str, str | int]) -> str:
    """As they are written on the command line."""
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in options.items())


class Notices:
    def __init__(self, *, has_system_prompt: bool) -> None:
        self._unsaid = UNSAID if has_system_prompt else UNSAID | OF_SYSTEM_PROMPTS
        self._is_told = False

    def tell(self, service: InferenceService) -> None:
        """Call it once the model answers; later calls say nothing."""
        loaded = service.state.loaded
        if self._is_told or loaded is None:
            return
        self._is_told = True
        for notice in loaded.notices:
            if notice.code not in self._unsaid:
                print(say(f"notice.{notice.code}", **notice.params), file=sys.stderr)
