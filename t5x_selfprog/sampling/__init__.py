"""The sampler: text in, completions out, on one or many hosts; the result does not depend on batches or hosts.

`interface.py` is what callers use; the other modules compile and schedule prefill and decoding.
May import `model` and `telemetry`; neither TensorFlow nor a stage.

The field's words, as used here (the letters for sizes are in `grid.py`):
  prompt   the text of one request, without the prefix that all prompts share; padded to the length of a bucket
  slot     one position in a cache of keys and values: S prompt slots per group, T suffix slots (a ring) per row
  row      one place in the decoding batch (elsewhere often "slot"): an attempt under way, or idle
  group    R rows that share the keys and values of one prompt; the grid is G groups
  prefill  one forward pass over a prompt, for all attempts at it (`prefill.py`)
  insert   writing prefilled prompts into idle groups; the code says `load`, as the setting `prompts_per_load` does
  share    copying a prompt within the grid, for an idle group that takes over waiting attempts
  decode   one step: every busy row chooses a token (`decode.py`)
  chunk    `chunk_steps` decoding steps in one device program; between chunks the host collects and inserts
  compact  gathering the last busy rows in a smaller grid
"""
