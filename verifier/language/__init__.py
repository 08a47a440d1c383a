"""What programs and answers are: types, literals, puzzles, and what a program finds when it runs.

Runs nothing. Imports `verifier.errors` at most, and stays small: a worker loads it.
"""
