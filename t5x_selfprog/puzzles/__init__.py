"""Puzzles as text: P3's format and our seeds, prompts and pairs, identities, the filter's rules, how hard each was.

Everything here is pure functions of text, except `behaviour`, which asks the verifier's pool.
May import `sampling` (only its configuration).
"""
