"""Which Python source a pretraining corpus may use: the standard library and permissively licensed packages.

A distribution is used only if its own metadata names a licence known to be permissive. Any other (copyleft, unknown,
not stated) is left out and listed with the reason.
"""

from __future__ import annotations

import dataclasses
import email.parser
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

# Licences by SPDX identifier. CC0-1.0 dedicates to the public domain (numpy names it for one C file); MIT-0 is MIT
# without the attribution clause. MPL-2.0, a per-file copyleft, is left out.
PERMISSIVE_SPDX = frozenset(
    [
        "MIT",
        "MIT-0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "Apache-2.0",
        "PSF-2.0",
        "Python-2.0",
        "ISC",
        "Unlicense",
        "Zlib",
        "0BSD",
        "CC0-1.0",
    ]
)
PERMISSIVE_CLASSIFIERS = {
    "MIT License": "MIT",
    "BSD License": "BSD",
    "Apache Software License": "Apache-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "ISC License (ISCL)": "ISC",
    "The Unlicense (Unlicense)": "Unlicense",
    "zlib/libpng License": "Zlib",
}
# Classifiers that do not contradict another licence named beside them.
NEUTRAL_CLASSIFIERS = frozenset({"DFSG approved", "OSI Approved"})
# Patterns for free-text License fields; they must match the whole lower-cased field.
PERMISSIVE_TEXT = {
    r"(the )?mit( licen[sc]e)?": "MIT",
    r"(the )?(modified |new |3-clause |2-clause )?bsd([ -][23]-clause)?( licen[sc]e)?": "BSD",
    r"(the )?(asl|apache)([ -](software )?(licen[sc]e )?(,? ?version )?2(\.0)?)?( licen[sc]e)?": "Apache-2.0",
    r"apache license\s+version 2\.0, january 2004.*": "Apache-2.0",
    r"isc( licen[sc]e)?": "ISC",
    r"psf(-2\.0| licen[sc]e)?": "PSF-2.0",
}
COPYLEFT = re.compile(r"\b(A?GPL|LGPL|MPL|EUPL|CDDL|GNU|Mozilla)\b", re.IGNORECASE)

# Vendored code (its licence is not the package's), test data, and generated files.
SKIPPED_PARTS = frozenset(
    [
        "_vendor",
        "vendor",
        "_vendored",
        "vendored",
        "extern",
        "externals",
        "third_party",
        "site-packages",
        "_api",
        "_tf_keras",
        "typeshed",
        "__pycache__",
        "node_modules",
        "idle_test",
        "turtledemo",
        "pydoc_data",
        "encodings",
        "cjkencodings",
        "nnapi",
    ]
)
SKIPPED_NAMES = re.compile(
    r"(_pb2(_grpc)?\.py|^gen_.*_ops\.py|_unicode.*\.py|.*unicode.*data.*|^table_.*\.py|^_version\.py|"
    r"lextab|yacctab|"
    r".*Lexer\.py|.*Parser\.py|.*mbpp.*|.*human_?eval.*)$",
    re.IGNORECASE,
)
OWN_DISTRIBUTIONS = frozenset({"t5x-selfprog", "t5x_selfprog", "verifier"})


@dataclasses.dataclass(frozen=True)
class Source:
    """One origin of files: a standard library or a distribution.

    Attributes:
      files: pairs of (name inside the source, path on disk or archive member), sorted by name.
    """

    name: str
    version: str
    licence: str
    root: str
    files: tuple[tuple[str, str], ...]
    archive: str | None = None


@dataclasses.dataclass(frozen=True)
class Refused:
    """A distribution that is not used, and why."""

    name: str
    version: str
    why: str


def licence_of(metadata: email.message.Message) -> tuple[str | None, str]:
    """The permissive licence that a METADATA file declares, or None and what it declares instead.

    If there is a License-Expression, it alone decides (PEP 639). Otherwise every classifier must be permissive, or the
    License field must name a permissive licence.
    """
    expression = metadata.get("License-Expression")
    if expression:
        alternatives = re.split(r"\s+OR\s+", expression.strip("() "))
        for alternative in alternatives:
            if all(part.strip("() ") in PERMISSIVE_SPDX for part in re.split(r"\s+AND\s+", alternative)):
                return alternative, expression
        return None, expression
    text = (metadata.get("License") or "").strip()
    short = text.splitlines()[0] if text else ""
    classifiers = [
        value.split("::")[-1].strip()
        for value in metadata.get_all("Classifier") or []
        if value.startswith("License ::")
    ]
    named = [value for value in classifiers if value not in NEUTRAL_CLASSIFIERS]
    stated = " / ".join(filter(None, [short[:60], *named])) or "nothing stated"
    if COPYLEFT.search(short) or any(COPYLEFT.search(value) for value in named):
        return None, stated
    if named and all(value in PERMISSIVE_CLASSIFIERS for value in named):
        return " OR ".join(PERMISSIVE_CLASSIFIERS[value] for value in named), stated
    for pattern, name in PERMISSIVE_TEXT.items():
        if re.fullmatch(pattern, short.lower()) or re.fullmatch(pattern, " ".join(text.lower().split())):
            return name, stated
    parts = {part.strip() for part in re.split(r"\s+OR\s+", text)}
    if parts & PERMISSIVE_SPDX:
        return sorted(parts & PERMISSIVE_SPDX)[0], stated
    return None, stated


def usable(name: str) -> bool:
    """Whether a file of this name, relative to its source, is worth opening."""
    path = Path(name)
    return (
        path.suffix == ".py"
        and not SKIPPED_PARTS.intersection(path.parts[:-1])
        and not SKIPPED_NAMES.search(path.name)
        and not path.name.startswith(("bad_", "badsyntax"))
    )


def standard_library(root: Path) -> Source | None:
    """The standard library in `root` (a directory `lib/python3.x`), or None if there is none."""
    if not (root / "argparse.py").exists():
        return None
    files = [
        (str(path.relative_to(root)), str(path))
        for path in sorted(root.rglob("*.py"))
        if usable(str(path.relative_to(root)))
    ]
    return Source("cpython-stdlib", root.name.removeprefix("python"), "PSF-2.0", str(root), tuple(files))


def installed(site: Path) -> Iterator[Source | Refused]:
    """Every distribution installed in a site-packages directory, by its RECORD."""
    for info in sorted(site.glob("*.dist-info")):
        metadata_path, record = info / "METADATA", info / "RECORD"
        if not metadata_path.exists() or not record.exists():
            yield Refused(info.name, "", "no METADATA or RECORD")
            continue
        names = [line.split(",")[0] for line in record.read_text(encoding="utf-8").splitlines()]
        files = [
            (name, str(site / name)) for name in sorted(names) if not name.startswith("..") and usable(name)
        ]
        metadata = email.parser.Parser().parsestr(metadata_path.read_text(encoding="utf-8", errors="replace"))
        yield _decide(metadata, str(site), files, None)


def wheel(path: Path) -> Source | Refused:
    """A downloaded wheel, read in place."""
    with zipfile.ZipFile(path) as archive:
        members = archive.namelist()
        metadata_name = next(name for name in members if name.endswith(".dist-info/METADATA"))
        metadata = email.parser.Parser().parsestr(archive.read(metadata_name).decode("utf-8", "replace"))
    return _decide(metadata, path.name, [(name, name) for name in sorted(members) if usable(name)], str(path))


def _decide(metadata, root: str, files, archive: str | None) -> Source | Refused:
    name, version = metadata["Name"] or root, metadata["Version"] or ""
    if name.lower() in OWN_DISTRIBUTIONS:
        return Refused(name, version, "this project")
    licence, stated = licence_of(metadata)
    if licence is None:
        return Refused(name, version, f"licence: {stated}")
    return Source(name.lower().replace("_", "-"), version, licence, root, tuple(files), archive)


def read_files(source: Source) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every readable file of a source; files removed since installation are skipped."""
    if source.archive is None:
        for name, path in source.files:
            if Path(path).is_file():
                yield name, Path(path).read_bytes()
        return
    with zipfile.ZipFile(source.archive) as archive:
        for name, member in source.files:
            yield name, archive.read(member)
