# Imports the verifier itself.
# expect: error:ImportError
def g():
    import verifier.worker.judge

    return verifier.worker.judge.CHECK_OUTCOMES
