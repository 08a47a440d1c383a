# Replaces the hook that is called when everything else failed.
# expect: error:ValueError
import statistics

statistics.sys.excepthook = lambda *arguments: statistics.sys.stdout.write("accepted")


def g():
    raise ValueError
