"""The models page: what is installed, what can be had, what is on its way.

page.py, news.py, running_card.py   the models page; what the window says of downloads; those under way
installed.py, installed_table.py, installed_detail.py, installed_actions.py, found_here.py   what is here
discover.py, search.py, offer_table.py, offer_words.py   what can be had: list, search, rows, words
offer_detail.py, offer_memory.py, offer_source.py, offer_files.py   its pane, part by part
offer_actions.py, fetching.py, consent.py, naming.py, reading.py   from a click to the queue; what is asked and read
downloads.py, download_rows.py, download_words.py, download_actions.py   the queue as a painted list
"""
