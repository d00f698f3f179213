"""Loss curves: what is known of a run, the part of it in view, and a plot of it as rows of cells. No Textual, no numpy.

The app's chart and `babytui curve` draw with the same code.
"""
