"""The Profiler page: what a model costs on this machine, measured, compared and kept.

page.py, head.py, strip.py, news.py   the page and its views; its head; how far a table is; what the window says of it
empty.py, new_view.py, form.py   before the first table; a new one: what it would come to, and what is asked for
run_view.py, parts.py, words.py   one table; what its parts are made of; cells and figures in words
bars.py, curves.py, timeline.py, limits.py   forms beside one another; over lengths; memory over time; limits
readme_view.py, kv_view.py, tables.py   the README's tables beside ours; keys and values; every cell, and fine-tunes
detail.py, command.py, export.py   one cell in full; the command of a table; CSV, Markdown, a picture
actions.py, naming.py   what can be done with a table, each once; another name
runs_view.py, compare_view.py   all tables; two of them over time
"""
