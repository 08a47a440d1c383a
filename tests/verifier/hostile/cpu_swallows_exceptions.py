# Swallows whatever could be raised to stop it, for ever.
# expect: cpu_limit
def g():
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue
