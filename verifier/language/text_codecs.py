"""The text encodings of the interpreter, for programs that can open no file.

`encodings` looks for a codec's module on disk when it is first used. A child has no disk, so the code of all of
them is read beforehand, and run on first use: kept as bytes it costs a fork nothing, while a hundred imported modules
would make every fork slower. Codecs in libraries of their own (the Chinese, Japanese and Korean ones) are left out:
here they raise LookupError.
"""

import builtins
import codecs
import encodings
import encodings.aliases
import marshal
import os
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from typing import Any

# Imported at once, because they are common.
COMMON = ("ascii", "latin_1", "utf_8_sig", "utf_16", "utf_16_be", "utf_16_le", "cp1252")
# Not encodings of text, or only on Windows.
_OTHERS = frozenset(
    ["__init__", "aliases", "mbcs", "oem", "undefined", "base64_codec", "bz2_codec", "hex_codec"]
    + ["quopri_codec", "uu_codec", "zlib_codec"]
)
_LIBRARIES = (b"_multibytecodec", b"stringprep")


def install() -> None:
    """Reads all codecs; from then on none is looked for on disk. Call it once in a process."""
    for name in COMMON:
        __import__(f"encodings.{name}")
    codes = dict(_read())

    def search(name: str) -> codecs.CodecInfo | None:
        name = encodings.normalize_encoding(name)
        code = codes.get(encodings.aliases.aliases.get(name, name)) or codes.get(name)
        if code is None:
            return None
        space: dict[str, Any] = {"__name__": f"encodings.{name}", "__builtins__": builtins}
        exec(marshal.loads(code), space)
        return space["getregentry"]()

    codecs.register(search)
    encodings.__path__[:] = []


def _read() -> Iterator[tuple[str, bytes]]:
    """Module name -> its code, marshalled."""
    for folder in encodings.__path__:
        for file in sorted(os.listdir(folder)):
            name, _, ending = file.partition(".")
            if ending != "py" or name in _OTHERS or name in COMMON:
                continue
            full_name = f"encodings.{name}"
            code = marshal.dumps(SourceFileLoader(full_name, os.path.join(folder, file)).get_code(full_name))
            if not any(library in code for library in _LIBRARIES):
                yield name, code
