"""Data preparation: the pretraining corpus, pairs from elsewhere, exports, and the seqio and TFDS door.

May import `model` and `puzzles`. Only tasks.py, tfds_builders.py and tokens.py import TensorFlow or
seqio; the loop imports none of these three.
"""
