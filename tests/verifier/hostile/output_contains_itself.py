# A list that contains itself.
# expect: bad_answer
def g():
    answer = []
    answer.append(answer)
    return answer
