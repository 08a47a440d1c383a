"""The sampler: text in, completions out, on one or many hosts; the result does not depend on batches or hosts.

`interface.py` is what callers use; the other modules compile and schedule prefill and decoding.
May import `model` and `telemetry`; neither TensorFlow nor a stage.
"""
