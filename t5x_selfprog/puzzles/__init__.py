"""Puzzles as text: P3's format and our seeds, prompts and pairs, identities, and the rules of the filter.

Everything here is pure functions of text, except `behaviour`, which asks the verifier's pool.
May import `evaluation` (for now: see tests/test_import_graph.py) and `sampling` (only its configuration).
"""
