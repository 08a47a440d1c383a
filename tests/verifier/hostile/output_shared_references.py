# A small answer that is exponentially large once written out.
# expect: output_limit cpu_limit memory_limit
def g():
    answer = [1]
    for _ in range(50):
        answer = [answer, answer]
    return answer
