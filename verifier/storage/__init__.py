"""What stands on disk or in a bucket: files, TFRecord, records, ledgers of shards and claims on them.

Imports `verifier.errors` alone; `t5x_selfprog` keeps its own files with it.
"""
