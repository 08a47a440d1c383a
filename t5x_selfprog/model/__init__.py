"""One decoder-only Transformer for every family and size, and models on disk: ours, Hugging Face's, GGUF files.

May import no other package, only modules such as `partitioning`; neither TensorFlow nor torch.

Array letters used throughout this package:
  B batch   L sequence length   D embedding width   V vocabulary   N layers
  H query heads   K key/value heads   C head size   F feed-forward width
"""
