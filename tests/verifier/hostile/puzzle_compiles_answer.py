# The puzzle executes an answer that would forge its report.
# expect: wrong killed
# puzzle: def f(x: str):
# puzzle:     exec(x)
# puzzle:     return False
def g():
    return "import statistics; statistics.sys.modules['verifier.worker.child'].check_answer = None"
