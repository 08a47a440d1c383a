"""The shipped base: a corpus from installed Python packages, documents in the form of pairs, and the training on both.

`pretrain` is the stage that gin configures; the other modules make its tokens, for scripts/.
May import `model`, `puzzles`, `telemetry` and `training`.
"""
