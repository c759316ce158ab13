"""The server page: the model that is loaded here, for other programs.

page.py, local_view.py   the head with the views; the server of this program, put together and kept up to date
state_card.py, words.py   how it stands, its addresses, what answers a failure; the words for all of that
setup_card.py, key_row.py, list_field.py   which model, where it listens, from when on; the key that clients send
snippets.py, requests_view.py, vllm_card.py   requests to be pasted; who asks what, and the log; the command for vLLM
news.py, exchange.py   what the rest of the window says of it; asked before a served model leaves the memory
"""
