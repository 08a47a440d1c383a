"""What is on disk or in a bucket: files, TFRecord, records, ledgers of shards and claims on them.

Imports only `verifier.errors`; `t5x_selfprog` keeps its own files with it.
"""
