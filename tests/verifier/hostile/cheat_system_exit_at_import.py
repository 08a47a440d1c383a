# Raises SystemExit while its module is being run.
# expect: error:SystemExit
raise SystemExit


def g():
    return 1
