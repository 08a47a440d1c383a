"""One decoder-only Transformer for every family and size.

Array letters used throughout this package:
  B batch   L sequence length   D embedding width   V vocabulary   N layers
  H query heads   K key/value heads   C head size   F feed-forward width
"""
