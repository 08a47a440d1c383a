# Answers with a list nested a million deep.
# expect: bad_answer killed cpu_limit
def g():
    answer = []
    for _ in range(10**6):
        answer = [answer]
    return answer
