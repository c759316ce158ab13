"""`chat` for people at a terminal: a conversation with commands, Markdown, line editing.

conversation.py   from the welcome to the end: questions, commands, Ctrl-C
commands.py, conf.py   what a line means; the settings of `:conf`, their types and limits
told.py   what the commands show: help, history, settings, figures
prompt.py, keys.py   the line editor with its history and completion; the terminal's modes while a reply streams
screen.py, region.py   a reply while it comes; the lines at the end of the output that may still change
markdown.py, text.py   Markdown as lines; nothing harmful, and lines broken where Chinese may be broken
"""
