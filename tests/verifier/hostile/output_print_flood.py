# Prints without end.
# expect: output_limit cpu_limit
def g():
    while True:
        print("accepted" * 10**5)
