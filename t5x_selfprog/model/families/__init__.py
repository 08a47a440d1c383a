"""The families of published models: one file per kind of block, and one table of them all.

May import `model.config`, `model.weight_map` and `verifier`; nothing here reads weights.
"""
