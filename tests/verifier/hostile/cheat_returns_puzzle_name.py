# Returns its copy of the puzzle.
# expect: bad_answer
def g():
    return f
