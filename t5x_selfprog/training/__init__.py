"""The trainer: batches, loss, optimizer step, checkpoints, and the loop that fine-tuning and pretraining share.

May import `model`, `telemetry`, `partitioning` and `verifier`; neither TensorFlow nor a stage.
"""
