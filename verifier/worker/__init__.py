"""The worker process of a pool, and the pool's handle of it: judges batches in children that it has forked.

`process` is what runs there, `child` what runs in its children. Imports `language`, `sandbox`, `outcomes`
and `former_names`, and stays small.
"""
