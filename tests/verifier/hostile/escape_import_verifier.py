# Imports the verifier itself.
# expect: error:ImportError
def g():
    import verifier.judging

    return verifier.judging.CHECK_OUTCOMES
