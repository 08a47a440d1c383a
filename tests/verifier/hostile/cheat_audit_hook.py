# Adds an audit hook, which no one can remove, that raises at the next import.
# expect: wrong killed error:RuntimeError
import statistics

count = 0


def hook(event, arguments):
    global count
    count += 1
    if event in ("compile", "exec", "object.__getattr__"):
        raise RuntimeError(event)


def g():
    statistics.sys.addaudithook(hook)
    return 1
