"""Data preparation: the pretraining corpus, pairs from elsewhere, exports, and the seqio and TFDS door.

May import `puzzles`, `run_dir`, `tokenizer` and `verifier`. Only tasks.py, tfds_builders.py and tokens.py import
TensorFlow or seqio; the loop imports none of these three.
"""
