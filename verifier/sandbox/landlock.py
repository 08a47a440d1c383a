"""Landlock: the kernel forbids this process and its children every file, TCP port and outside process.

No rule is added to the rule set, so nothing stays allowed; all a worker needs is open or imported by then.
See https://docs.kernel.org/userspace-api/landlock.html.
"""

import ctypes
import struct

from verifier.sandbox import linux

_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # the same numbers on all architectures
_VERSION_FLAG = 1

# Rights that exist from each version of the interface on; a rule set must not name unknown ones.
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_NET_RIGHTS = 0b11  # from version 4: bind and connect TCP
_SCOPES = 0b11  # from version 6: abstract unix sockets, signals


def version() -> int:
    """The interface's version. Raises OSError where the kernel has no Landlock or it is off."""
    return linux.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)


def restrict() -> int:
    """Shuts this process in, for good; returns the version. Raises OSError."""
    found = version()
    fields = [_FILE_RIGHTS[min(found, 5)]]
    if found >= 4:
        fields.append(_NET_RIGHTS)
    if found >= 6:
        fields.append(_SCOPES)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    ruleset = linux.syscall(_CREATE_RULESET, buffer, len(attributes), 0)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.syscall(_RESTRICT_SELF, ruleset, 0)
    linux.call("close", ruleset)
    return found
