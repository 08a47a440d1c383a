"""The one exception users are meant to see, shared by both packages."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can put right: bad input, a missing file, another run's directory.

    The message names the offending value and the remedy. Command lines print it without a traceback and
    exit with `EXIT_CODE`; anything else that escapes is a bug and keeps its traceback.
    """

    EXIT_CODE = 2
