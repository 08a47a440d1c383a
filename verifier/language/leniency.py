"""Python's own reading of source text, without those of its guards that are not part of the language."""

import sys
import warnings
from _thread import RLock
from collections.abc import Iterator
from contextlib import contextmanager

_lock = RLock()


@contextmanager
def lenient_python() -> Iterator[None]:
    """Integers of any length and no syntax warnings, during one call into `ast`.

    Real puzzles hold literals beyond Python's guard of 4,300 digits. Guard and filters are one setting per process,
    hence the lock: a thread that leaves would reset them for another.
    """
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)  # invalid escapes, in Python 3.11
        digits = sys.get_int_max_str_digits()
        sys.set_int_max_str_digits(0)
        try:
            yield
        finally:
            sys.set_int_max_str_digits(digits)
