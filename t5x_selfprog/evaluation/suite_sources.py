"""Where a suite's file is: a given path, evalplus' cache on this machine, or the release that evalplus fetches."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass

from verifier.errors import UserError
from verifier.storage import files

TIMEOUT_S = 60.0
_MAX_BYTES = 256 << 20
FOLDER = "SELFPROG_SUITES"  # environment variable: another folder for the files of suites


@dataclass(frozen=True)
class Published:
    """A published suite.

    Attributes:
      file: its name in evalplus' cache.
      md5: of that file; evalplus writes it as `hash` into its results.
    """

    url: str
    file: str
    md5: str


_RELEASES = "https://github.com/evalplus/{}_release/releases/download/{}/{}.jsonl.gz"
PUBLISHED = {
    "humaneval_plus": Published(
        _RELEASES.format("humanevalplus", "v0.1.10", "HumanEvalPlus"),
        "HumanEvalPlus-v0.1.10.jsonl",
        "fe585eb4df8c88d844eeb463ea4d0302",
    ),
    "mbpp_plus": Published(
        _RELEASES.format("mbppplus", "v0.2.0", "MbppPlus"),
        "MbppPlus-v0.2.0.jsonl",
        "ee43ecabebf20deef4bb776a405ac5b1",
    ),
}


def find_suite(suite: str, timeout_s: float = TIMEOUT_S) -> tuple[str, str]:
    """The path of a suite's file and its short name. A published suite that is missing is fetched, atomically.

    Raises UserError: no such file or name, no connection, or a download that is not the file.
    """
    published = PUBLISHED.get(suite)
    if published is None:
        if not files.exists(suite):
            raise UserError(f"--suite={suite}: no such file; give one, or {' or '.join(PUBLISHED)}.")
        if files.is_folder(suite):
            raise UserError(
                f"--suite={suite}: is a folder; give a file of tasks, or {' or '.join(PUBLISHED)}."
            )
        name = re.sub(r"(\.jsonl?)?(\.gz)?$", "", suite.rstrip("/").rpartition("/")[2])
        return suite, re.sub(r"[^\w.-]", "_", name) or "suite"
    path = os.path.join(_folder(), published.file)
    if not os.path.exists(path):
        data = _fetch(published, path, timeout_s)
        files.makedirs(os.path.dirname(path))
        files.write_atomic(path, data)
    return path, suite


def _folder() -> str:
    """evalplus' own cache, unless the environment says otherwise."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.environ.get(FOLDER) or os.path.join(cache, "evalplus")


def _fetch(published: Published, path: str, timeout_s: float) -> bytes:
    try:
        with urllib.request.urlopen(published.url, timeout=timeout_s) as response:
            packed = response.read(_MAX_BYTES + 1)
        data = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error, http.client.HTTPException, ValueError) as error:
        why = error.reason if type(error) is urllib.error.URLError else error
        raise UserError(
            f"{published.url}: cannot be fetched: {why}. Without internet, unpack that file to {path} by hand "
            f"(or set {FOLDER} to a folder that has {published.file})"
        ) from error
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != published.md5:
        raise UserError(
            f"{published.url}: arrived with md5 {found} ({len(data)} bytes unpacked), expected {published.md5}: not "
            "the release that evalplus measures by, perhaps a proxy's answer. Nothing was written"
        )
    return data
