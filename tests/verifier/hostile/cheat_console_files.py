# Programs on standard input have an `open`: for 0 only.
# expect: error:PermissionError
import verifier_console


def g():
    return len(verifier_console.run("print(open('/etc/passwd').read())", [""], globals())[0])
