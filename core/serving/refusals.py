"""Why a request is not answered, in OpenAI's shape: status, type, code, sentence, and which parameter is meant.

Invariant: every foreseen error has a status of its own below 500, but for those where this machine is at fault.
"""

from __future__ import annotations

from typing import Any

from core.errors import Param, UserError

# What of the errors of the program is the fault of the request; all others are faults of this machine.
STATUS = {
    "prompt_too_long": 400,
    "message_too_long": 400,
    "context_full": 400,
    "template_refused": 400,
    "template_broken": 400,
    "template_without_tools": 400,
    "model_cannot_chat": 400,
    "grammar_refused": 400,
    "grammar_failed": 400,
    "grammar_needs_bytes": 400,
    "api_invalid": 400,
    "api_no_user_message": 400,
    "api_wrong_order": 400,
    "api_only_text": 400,
    "api_unsupported": 400,
    "api_tool_unknown": 400,
    "api_tools_missing": 400,
    "api_tool_name": 400,
    "api_tool_parameters": 400,
    "api_one_prompt": 400,
    "api_half_character": 400,
    "api_nested": 400,
    "api_no_json": 400,
    "api_too_many": 400,
    "api_key_wrong": 401,
    "api_host_refused": 403,
    "api_host_missing": 400,
    "api_origin_refused": 403,
    "api_not_found": 404,
    "api_method": 405,
    "api_body_too_large": 413,
    "api_busy": 429,
    "no_model_loaded": 503,
    "api_stopping": 503,
    "api_loading": 503,
    "api_model_changed": 503,
    "api_model_ended": 503,
    "out_of_memory": 503,
}
# As other servers name them, so that clients know them.
OPENAI_CODES = {
    "prompt_too_long": "context_length_exceeded",
    "message_too_long": "context_length_exceeded",
    "context_full": "context_length_exceeded",
    "api_key_wrong": "invalid_api_key",
    "api_busy": "rate_limit_exceeded",
}
TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class Refusal(Exception):
    """
    Attributes:
        status: of the answer
        code: of the program's own error
        body: as it is sent
    """

    def __init__(self, code: str, param: str | None = None, /, **params: Param) -> None:
        error = UserError(code, **params)
        super().__init__(code)
        self.code, self.status = code, STATUS.get(code, 500)
        default = "invalid_request_error" if self.status < 500 else "server_error"
        self.body: dict[str, Any] = {
            "error": {
                "message": str(error),
                "type": TYPES.get(self.status, default),
                "param": param,
                "code": OPENAI_CODES.get(code, code),
            }
        }

    @classmethod
    def of(cls, error: UserError) -> Refusal:
        return cls(error.code, None, **error.params)
