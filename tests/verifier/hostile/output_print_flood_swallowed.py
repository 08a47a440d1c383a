# Prints too much and swallows what is raised.
# expect: output_limit cpu_limit
def g():
    try:
        while True:
            print("x" * 10**6)
    except BaseException:
        return 1
