"""Qwen-Agent as a foreign client: an Assistant with a tool of its own asks a server. Run as a program.

    python qwen_agent_client.py PACKAGE_FOLDER BASE_URL KEY

Prints one JSON line for each of its two ways of calling tools: those of the API ("raw") and its own prompt ("nous").
Qwen-Agent imports all its tools at once; the packages of those that are not used here are left out.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any
from unittest.mock import MagicMock

ABSENT = ("dashscope", "dashscope.aigc", "dashscope.aigc.image_generation", "dashscope.common", "soundfile", "PIL",
          "PIL.Image", "dotenv", "dateutil", "dateutil.relativedelta", "jsonlines", "pebble", "multiprocess",
          "timeout_decorator")  # fmt: skip
CITY = {"type": "object", "properties": {"city": {"enum": ["Rome", "Paris"]}}, "required": ["city"]}
CALL = "<tool_call>{'name': 'weather', 'arguments': {'city': 'Paris'}}</tool_call>"  # in JSON5, which it reads


def conversations(base_url: str, key: str) -> None:
    from qwen_agent.agents import Assistant
    from qwen_agent.tools.base import BaseTool

    class Weather(BaseTool):  # type: ignore[misc]
        name, description, parameters = "weather", "The weather of a city.", CITY
        agent: Any = None

        @property
        def function(self) -> dict[str, Any]:
            """Nothing beyond the city, which Qwen-Agent's own check of schemas does not let a tool say."""
            return {**super().function, "parameters": {**CITY, "additionalProperties": False}}

        def call(self, params: str, **kwargs: Any) -> str:
            city = json.loads(params)["city"] if isinstance(params, str) else params["city"]
            for forced in ("tool_choice", "response_format"):  # from now on the model says what it likes
                self.agent.llm.generate_cfg.pop(forced, None)
            return f"Sunny in {city}."

    said = {"type": "json_schema", "json_schema": {"name": "call", "schema": {"const": CALL}}}
    forced: dict[str, dict[str, Any]] = {
        "raw": {"use_raw_api": True, "tool_choice": "required", "max_tokens": 300},
        "nous": {"fncall_prompt_type": "nous", "response_format": said, "max_tokens": 300},
    }
    for way, choices in forced.items():
        server = {"model": "tiny", "model_type": "oai", "model_server": base_url, "api_key": key}
        tool = Weather()
        agent = Assistant(llm={**server, "generate_cfg": {**choices, "temperature": 0}}, function_list=[tool],
                          system_message="Be brief.")  # fmt: skip
        tool.agent = agent
        *_, last = agent.run([{"role": "user", "content": "Weather?"}])
        print(json.dumps({"way": way, "messages": last}), flush=True)


if __name__ == "__main__":
    folder, *server = sys.argv[1:]
    sys.path.append(folder)
    sys.modules.update({name: MagicMock() for name in ABSENT})
    os.environ["QWEN_AGENT_MAX_LLM_CALL_PER_RUN"] = "2"
    conversations(*server)
