"""What is worth knowing of a loaded model, said once on stderr. Invariant: stdout stays what scripts read."""

from __future__ import annotations

import sys

from app.services.inference import InferenceService
from core.translation import say

# Facts that stand with the model in the window and in `models show`; at every call they would hide what is news.
UNSAID = frozenset({"not_a_qwen", "code_never_run"})
OF_SYSTEM_PROMPTS = frozenset({"system_prompt_weak"})


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
