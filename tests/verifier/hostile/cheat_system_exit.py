# Raises SystemExit.
# expect: error:SystemExit
def g():
    raise SystemExit(0)
