"""GGUF files (llama.cpp's) in: container, architectures, vocabulary, and all three as one published model."""
