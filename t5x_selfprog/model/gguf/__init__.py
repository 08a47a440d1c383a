"""Reads llama.cpp's GGUF files: container, architectures, vocabulary, and all three as one published model.

May import `model` and `verifier`; the package `gguf` is imported only when a file is opened.
"""
