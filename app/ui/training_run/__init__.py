"""One fine-tune on the screen, and what the rest of the window says of them.

page.py, head.py, body.py, words.py   the page of a run; name, state, progress, buttons; its parts; a run in words
reading.py   what lies over the page until all of it is true
actions.py, more_dialog.py   what can be done with it, each once; how many more times over the data
feed.py, charts.py, figure_cards.py   its figures: history and what comes; drawn over the steps; as four numbers
overlay.py, setting_diff.py   other runs drawn over it; where their settings differ
wall.py, wall_rows.py   answers of every checkpoint side by side; as rows of a table, with what is new in them
answer_text.py   an answer laid out, cut with a sign where there is no room or no end
facts.py   what was found out before the first step; the recipe as text
trouble.py, remedies.py   why it failed; what would help, the best first
result_card.py, compare.py   what came of it; one question to the base and to what was learned
news.py   toast, notification and rail
"""
