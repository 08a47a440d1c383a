"""Programs judged by unit tests: HumanEval's, MBPP's and evalplus' files, taken apart and made into puzzles.

Imports `language`, `storage` and `errors`.
"""
