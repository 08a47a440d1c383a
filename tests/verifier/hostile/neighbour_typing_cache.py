# Fills the cache of List with a key that equals True and 1.0.
# expect: wrong
def g():
    List[1]
    return len(str(List[True]))
