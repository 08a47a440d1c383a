"""What programs and answers are: types, literals, puzzles, and what a program finds when it runs.

Runs nothing. Imports no other wing, and stays small: a worker loads it.
"""
