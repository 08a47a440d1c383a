"""The stages of the loop: plain functions from numbered shards on disk to numbered shards on disk.

One file per stage, and what several share. Stages meet only on disk; `context` gives them the run and the model.
May import `data`, `evaluation`, `model`, `moving`, `puzzles`, `report`, `sampling`, `telemetry` and `training`.
"""
