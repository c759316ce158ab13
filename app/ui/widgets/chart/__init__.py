"""Live line charts: of the losses of a run, of its memory, later of a profile.

chart.py, lines.py, plot.py   a chart; what is drawn in it; the part that zooms and draws
series.py, pyramid.py, smoothing.py   values of any number; their extremes by scale; the smoothed line
bar.py, export.py   the tools above a chart; pictures and tables of it
frame.py, ticks.py, legend.py, card.py, readings.py   grid and phases; numbers on it; names; the card at the crosshair
memory_timeline.py   memory over the steps, with its phases
"""
