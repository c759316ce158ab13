"""The API that other programs know, as values: what they ask in OpenAI's words, and what they are answered.

requests.py, answers.py, replies.py   the bodies that come in; those that go out, described; how they are made
conversation.py, asked.py   messages -> turns of ours, or why not; a request -> what the engine is asked
react.py, tool_prompt.py   tools in the prompt: as text for models that know none, by the model's own template
tool_calls.py, react_calls.py   tools in the reply: calls out of text that comes in pieces, by each way
grammars.py, refusals.py, listening.py   grammars of replies that must be JSON; errors in OpenAI's shape; the socket
snippets.py, vllm_command.py   requests to be pasted; the command that serves the same elsewhere

A front imports what needs no pydantic only: refusals.py, replies.py, listening.py, snippets.py, vllm_command.py.
"""
