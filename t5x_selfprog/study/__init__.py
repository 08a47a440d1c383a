"""`selfprog study`: a grid of runs from one gin file, what they share, and the page of their results.

May import `evaluation`, `model`, `puzzles` and `report`; runs are started as processes of their own.
"""
