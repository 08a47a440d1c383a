"""Fetches P3 from its public repository: a pinned commit, verified by checksum, written all or nothing."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping

from verifier.errors import UserError
from verifier.storage import files
from verifier.storage.shards import atomic_write

COMMIT = "017f488b8f6320b8220cda38e78f2f72a36eab20"
URL = f"https://raw.githubusercontent.com/microsoft/PythonProgrammingPuzzles/{COMMIT}/puzzles"
SHA256: Mapping[str, str] = {
    "puzzles.json": "d3b61141ea0d935c389d602867ba2c154db1854df9ff4402daaa947ad880d8bb",
    "split.json": "1f3d55c30dcb23036a0008763a21fe3da1765879523a33585593f9daa5f2e824",
}
TIMEOUT_S = 60.0
_MAX_BYTES = 64 * 2**20


def download(
    folder: str, *, url: str = URL, sha256: Mapping[str, str] = SHA256, timeout_s: float = TIMEOUT_S
) -> list[str]:
    """Fetches the files named in `sha256` from `url` into `folder`, creating it; files already there are kept.

    Writes only after every file has arrived complete. Returns the names fetched.

    Raises UserError if there is no connection, an answer is not the expected file, or the folder has a different file
    of that name.
    """
    fetched: dict[str, bytes] = {}
    for name, wanted in sha256.items():
        path = files.join(folder, name)
        if files.exists(path):
            found = hashlib.sha256(files.read_bytes(path)).hexdigest()
            if found != wanted:
                raise UserError(
                    f"{path}: is there already and is another file (sha256 {found}, expected {wanted}); "
                    "move it away or give another --source"
                )
        else:
            fetched[name] = _fetch(f"{url}/{name}", wanted, timeout_s, folder)
    files.makedirs(folder)
    for name, data in fetched.items():
        atomic_write(files.join(folder, name), data)
    return list(fetched)


def _fetch(url: str, wanted: str, timeout_s: float, folder: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            data = response.read(_MAX_BYTES + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:  # A malformed URL is a ValueError.
        why = error.reason if type(error) is urllib.error.URLError else error
        raise UserError(
            f"{url}: cannot be fetched: {why}. Without internet, copy {' and '.join(SHA256)} of that "
            f"repository into {folder} by hand and leave out --download"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        raise UserError(
            f"{url}: arrived with sha256 {found} ({len(data)} bytes), expected {wanted}: not the pinned "
            "file, perhaps a proxy's answer. Nothing was written"
        )
    return data
