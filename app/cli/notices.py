"""What is worth knowing of a loaded model, said once on stderr. Invariant: stdout stays what scripts read."""

from __future__ import annotations

import sys

from app.services.inference import InferenceService
from core.translation import say

# Facts of a model that the window shows beside it; on the command line whoever names a model knows them.
UNSAID = ("not_a_qwen",)


class Notices:
    def __init__(self) -> None:
        self._is_told = False

    def tell(self, service: InferenceService) -> None:
        """Call it once the model answers; later calls say nothing."""
        loaded = service.state.loaded
        if self._is_told or loaded is None:
            return
        self._is_told = True
        for notice in loaded.notices:
            if notice.code not in UNSAID:
                print(say(f"notice.{notice.code}", **notice.params), file=sys.stderr)
