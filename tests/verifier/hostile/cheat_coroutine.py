# A coroutine as the answer.
# expect: bad_answer
async def g():
    return 1
