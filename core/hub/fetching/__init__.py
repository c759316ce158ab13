"""The one downloader: many files over several connections, gone on with after every kind of end.

download.py, remote.py, crew.py, keeper.py   the one downloader; what it is told; its threads
transfer.py, address.py, part.py, marks.py, front.py   one file: what answers mean; where it lies; what has come
line.py, route.py, tunnels.py, halt.py, patience.py   HTTP; the way to a host; proxies; the end; trying again
"""
