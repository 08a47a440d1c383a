"""`selfprog plan`: compiles a run's device programs for a slice that is not here, and estimates memory and time.

Nothing is allocated, and nothing runs on a device.
May import `model`, `puzzles`, `sampling`, `stages`, `telemetry` and `training`.
"""
