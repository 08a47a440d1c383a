# Fills a public table that the copy module reads.
# expect: wrong
# puzzle: def f(x: int):
# puzzle:     import copy
# puzzle: 
# puzzle:     return copy.copy(complex(x)) == 99
import copy


def g():
    copy.dispatch_table[complex] = lambda value: (int, ("99",))
    return 1
