"""A run's pairs as others read them: JSON lines, Parquet, seqio tasks and TFDS; and pairs that come from elsewhere.

May import `model` and `puzzles`. Only tasks.py, tfds_builders.py and tokens.py import TensorFlow or
seqio; the loop imports none of these three.
"""
