# Imports the verifier itself.
# expect: error:ImportError
def g():
    import verifier.worker.judging

    return verifier.worker.judging.CHECK_OUTCOMES
