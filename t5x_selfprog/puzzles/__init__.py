"""Puzzles as text: P3's format and our seeds, prompts and pairs, identities, and the rules of the filter.

Everything here is pure functions of text, except `behaviour`, which asks the verifier's pool.
May import `verifier` and, for now, `evaluation`; no JAX.
"""
