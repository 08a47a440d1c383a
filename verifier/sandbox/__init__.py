"""What keeps a child in: limits, system calls, files, namespaces, and what is swept away behind it.

Knows nothing of puzzles. Of the rest of the verifier it imports the limits' names alone; a worker loads it.
"""
