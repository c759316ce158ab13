"""Models that run on other machines, as models of the chat: vLLM, SGLang, another workbench.

engines.py   which machines there are, their keys, and the replies of their models
client.py, request.py, stream.py   the connection; a job as a request; its answer as events
batch.py, refusals.py   many questions at once; why there was no answer
"""
