"""What confines a child: limits, system calls, files, namespaces, and the clearing up behind it.

Knows nothing of puzzles. Of the rest of the verifier it names only `Limits`, for types; a worker loads it.
"""
