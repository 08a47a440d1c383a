# Runs a program of its own inside the console of programs on standard input, to get at the builtins there.
# expect: wrong
import verifier_console


def g():
    verifier_console.run("print(open(0), __builtins__)", ["text"], globals())
    return 7
