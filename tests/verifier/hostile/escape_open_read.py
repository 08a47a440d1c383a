# Reads a file of the host.
# expect: error:NameError
def g():
    return len(open("/etc/passwd").read())
