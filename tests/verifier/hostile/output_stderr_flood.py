# Floods stderr with writes of nothing, then of much.
# expect: output_limit
import statistics


def g():
    while True:
        statistics.sys.stderr.write("x" * 1_000_000)
