"""Chat templates that do what those of the families do with default prompts, thinking and tools, in fewer words."""

from __future__ import annotations

# Tools as JSON before the first turn, results of tools as one turn of the user, as Qwen2.5 and Qwen3.
_HEAD = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- else %}{{- DEFAULT }}{%- endif %}
    {{- '# Tools\\n<tools>' }}
    {%- for tool in tools %}{{- '\\n' + (tool | tojson) }}{%- endfor %}
    {{- '\\n</tools><|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- elif DEFAULT %}
    {{- '<|im_start|>system\\n' + DEFAULT + '<|im_end|>\\n' }}
{%- endif %}
"""
_OTHERS = """\
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- elif message.role == 'tool' %}
        {%- if messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- elif message.role == 'assistant' %}
"""
_CALLS = """\
        {%- for call in message.tool_calls or [] %}
            {%- if message.content or not loop.first %}{{- '\\n' }}{%- endif %}
            {%- set call = call.function or call %}
            {{- '<tool_call>\\n{"name": "' + call.name + '", "arguments": ' + (call.arguments | tojson) }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
"""
_XML_CALLS = """\
        {%- for call in message.tool_calls or [] %}
            {{- '\\n\\n<tool_call>\\n<function=' + call.function.name + '>\\n' }}
            {%- for name, value in call.function.arguments | items %}
                {{- '<parameter=' + name + '>\\n' }}
                {{- (value | tojson if value is mapping or value is sequence and value is not string else value) }}
                {{- '\\n</parameter>\\n' }}
            {%- endfor %}
            {{- '</function>\\n</tool_call>' }}
        {%- endfor %}
"""
_TAIL = """\
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}ASKED{%- endif %}
"""
# Thinking of the turns after the last question only, there an empty one too.
_LAST_QUESTION = """\
{%- set ns = namespace(asked=messages | length - 1, looks=true) %}
{%- for message in messages[::-1] %}
    {%- if ns.looks and message.role == 'user' %}
        {%- set ns.looks = false %}{%- set ns.asked = messages | length - 1 - loop.index0 %}
    {%- endif %}
{%- endfor %}
"""
_THOUGHT = """\
        {%- set thought = message.reasoning_content if message.reasoning_content is string else '' %}
        {%- if loop.index0 > ns.asked WHEN %}
            {{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' }}
        {%- endif %}
"""
_NO_THOUGHT = "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}"


def _template(default: str, thought: str, calls: str, asked: str) -> str:
    parts = (
        _HEAD.replace("DEFAULT", repr(default)), _LAST_QUESTION if thought else "",
        "{%- for message in messages %}\n", _OTHERS, "{{- '<|im_start|>assistant\\n' }}\n", thought,
        "{{- message.content.lstrip('\\n') }}\n", calls, _TAIL.replace("ASKED", asked),
    )  # fmt: skip
    return "".join(parts)


SECOND = _template("You are Qwen.", "", _CALLS, "")  # Qwen2.5
THIRD = _template(
    "", _THOUGHT.replace("WHEN", "and (loop.last or thought)"), _CALLS, _NO_THOUGHT + "{%- endif %}"
)  # Qwen3
THINKING = _template("", _THOUGHT.replace("WHEN", ""), _CALLS, "{{- '<think>\\n' }}")  # Qwen3 Thinking
OPEN = _template(
    "", _THOUGHT.replace("WHEN", ""), _XML_CALLS, _NO_THOUGHT + "{%- else %}{{- '<think>\\n' }}{%- endif %}"
)  # Qwen3.5
ASKED = OPEN.replace("enable_thinking is defined and enable_thinking is false", "enable_thinking is not true")

MARKED = """\
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {{- '<|im_start|>assistant\\n' }}
        {%- generation %}{{- message.content + '<|im_end|>' }}{%- endgeneration %}
        {{- '\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
# Other marks, the system prompt within the first question, and no odd orders, as several foreign models.
STRICT = """\
{%- if messages[0].role == 'system' %}
    {%- set system = messages[0].content + '\\n\\n' %}{%- set turns = messages[1:] %}
{%- else %}
    {%- set system = '' %}{%- set turns = messages %}
{%- endif %}
{%- for message in turns %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Roles must alternate') }}
    {%- endif %}
    {%- if message.role == 'user' %}
        {{- '[INST] ' + (system if loop.first else '') + message.content + ' [/INST]' }}
    {%- else %}
        {{- ' ' + message.content + '<|endoftext|>' }}
    {%- endif %}
{%- endfor %}
"""
