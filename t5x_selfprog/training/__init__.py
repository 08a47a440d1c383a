"""The trainer: batches, loss, optimizer step, checkpoints, and the loop that fine-tuning and pretraining share.

May import `model`, `sampling` (its bench's figures) and `telemetry`; neither TensorFlow nor a stage.
"""
