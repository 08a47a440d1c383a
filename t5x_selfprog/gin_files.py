"""gin at the rim: finding and parsing gin files, and listing what they bind.

Import the modules that declare the configurables before `load`: like gin, it refuses names that it does not know.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import gin
from gin import config as gin_config
from t5x_selfprog import gin_errors, gin_reach
from t5x_selfprog.gin_errors import explain
from t5x_selfprog.nearest import nearest
from verifier.errors import UserError
from verifier.storage import files

GIN_FOLDER = Path(__file__).resolve().parent.parent / "gin"
_INCLUDE = re.compile(r"^include\s.*$", re.MULTILINE)


@dataclass(frozen=True)
class Binding:
    """One `scope/configurable.param = value`; `name` is valid on the command line."""

    name: str
    value: str


def find(name: str) -> str:
    """The path of a gin file named by path or, under gin/ and gin/runs/, by name; `.gin` may be left out.

    Raises UserError, naming the nearest existing file.
    """
    # A file called `quickstart` (a script, say) is not a gin file, so the suffix is always added.
    if files.is_remote(name):
        if files.exists(name):
            return name
        raise UserError(f"--gin_file={name}: no such file")
    spelled = [name] if name.endswith(".gin") else [f"{name}.gin"]
    for folder in (Path(), GIN_FOLDER, GIN_FOLDER / "runs"):
        for candidate in spelled:
            path = folder / candidate
            if path.is_file():
                return str(path)
    known = sorted(str(path.relative_to(GIN_FOLDER)) for path in GIN_FOLDER.rglob("*.gin"))
    # A mistyped `quikstart` should lead to `runs/quickstart.gin`.
    short = {Path(path).stem: path for path in known}
    guess = nearest(name, known) or short.get(nearest(Path(name).stem, short) or "")
    hint = f"did you mean {guess}?" if guess else f"there are: {', '.join(known) or 'none'}"
    raise UserError(f"--gin_file={name}: no such file here or under {GIN_FOLDER}; {hint}")


def load(gin_files: Sequence[str], bindings: Sequence[str], saved: str = "") -> list[str]:
    """Parses the files in order, then the bindings (`NAME=VALUE`), and locks gin's configuration.

    A slice (a file of gin/slices) says what suits a machine. Wherever in the order it is named, it overrides what the
    other files include, but not what they bind themselves.

    Returns the paths of all files read, including included ones. Raises UserError naming file, line and the nearest
    valid name; for a binding, its flag. A binding that nothing can reach is refused as well, except in the file that a
    run `saved`, which may be older than that rule and can no longer be changed.
    """
    gin.clear_config()
    # gin also looks inside importable packages, and fails if a folder looks like one (`runs/`, where runs are kept, for
    # an include of 'runs/quickstart.gin'). Our files are plain files.
    gin_config._FILE_READERS[:] = [gin_config._FILE_READERS[0], (_open_remote, files.is_remote)]
    if str(GIN_FOLDER) not in gin_config._LOCATION_PREFIXES:
        gin.add_config_file_search_path(str(GIN_FOLDER))
    named = [(name, find(name)) for name in gin_files]
    slices = [found for found in named if _is_slice(found[1])]
    others = [found for found in named if found not in slices]
    paths = _parsed(others)
    if slices:
        paths += _laid_between(slices, [path for _, path in others])
    for binding in bindings:
        with explain(f"--gin.{binding}"):
            gin.parse_config(binding, skip_unknown=False)
    missing = [binding.name for binding in iterate_bindings() if binding.value == "%gin.REQUIRED"]
    if missing:
        flags = " ".join(f"--gin.{name}=..." for name in missing)
        places = gin_errors.matching_lines(paths, r"gin\.REQUIRED")
        raise UserError(f"{', '.join(missing)} must be given a value: {flags}{places}")
    with explain("--gin_file=" + " ".join(gin_files), paths):
        gin.finalize()
    _require_reachable(paths, bindings, saved)
    _require_in_order([path for _, path in others], paths, bindings)
    return paths


def _parsed(named: Sequence[tuple[str, str]]) -> list[str]:
    """Parses files; returns the paths of all that were read."""
    paths: list[str] = []
    for name, path in named:
        with explain(f"--gin_file={name}", [path]):
            paths += _all_paths(gin.parse_config_file(path, skip_unknown=False))
    return paths


def _laid_between(slices: Sequence[tuple[str, str]], others: Sequence[str]) -> list[str]:
    """Parses slices on top of what the others include, under what they bind themselves; returns all paths read.

    Whatever the slices do not change stays as it is without them.
    """
    before = _values()
    paths = _parsed(slices)
    changed = {key for key, value in _values().items() if repr(before.get(key)) != repr(value)}
    for path in others:
        gin.parse_config(_INCLUDE.sub("", files.read_bytes(path).decode()), skip_unknown=False)
    for (key, parameter), value in before.items():
        if (key, parameter) not in changed:
            gin_config._CONFIG[key][parameter] = value
    return paths


def _values() -> dict[tuple[tuple[str, str], str], Any]:
    return {
        (key, parameter): value
        for key, parameters in gin_config._CONFIG.items()
        for parameter, value in parameters.items()
    }


def _require_reachable(paths: Sequence[str], flags: Sequence[str], saved: str) -> None:
    """Raises UserError for bindings of these files and flags that nothing can reach.

    Files of slices and models describe a machine or a shape, and may say more than a run asks for: bindings only there,
    or in the file that a run `saved`, are accepted.
    """
    by_flag = {_plain_name(flag.partition("=")[0]): flag for flag in flags}
    accepted = [path for path in paths if path == saved or _describes_machine_or_model(path)]
    own = [path for path in paths if path not in accepted]
    lines = []
    for one in gin_reach.unreachable(gin_config._CONFIG):
        if one.name in by_flag:
            lines.append(f"--gin.{by_flag[one.name]}: {one.why}")
            continue
        pattern = _pattern(one.name)
        places = gin_errors.matching_lines(own, pattern)
        # gin has other spellings (blocks, say); a binding in one of these is refused without its place.
        if places or not gin_errors.matching_lines(accepted, pattern):
            lines.append(f"{one.name}: {one.why}{places}")
    if lines:
        raise UserError("bound, but nothing can reach it:\n  " + "\n  ".join(lines))


def _require_in_order(named: Sequence[str], paths: Sequence[str], flags: Sequence[str]) -> None:
    """Raises UserError for what a named file or a flag binds, if an earlier file binds it more narrowly.

    gin prefers the narrower scope whatever the order, so what was said last would silently not count there.
    """
    by_flag = {_plain_name(flag.partition("=")[0]): flag for flag in flags}
    # Flags come last, and before them what each named file says itself; includes and slices come first.
    own = [path for path in named if not _describes_machine_or_model(path)]

    def place(name: str) -> int:
        if name in by_flag:
            return len(own)
        found = [i for i, path in enumerate(own) if gin_errors.matching_lines([path], _pattern(name))]
        return max(found, default=-1)

    beaten: dict[str, list[str]] = {}
    for name, narrower in gin_reach.overruled(gin_config._CONFIG):
        if place(narrower) < place(name) and gin_errors.matching_lines(paths, _pattern(narrower)):
            beaten.setdefault(name, []).append(narrower)
    lines = []
    for name, winners in sorted(beaten.items()):
        said = f"--gin.{by_flag[name]}" if name in by_flag else name
        where = "".join(gin_errors.matching_lines(paths, _pattern(one)) for one in winners)
        lines.append(f"{said}: does not count where an earlier file binds {' and '.join(winners)}{where}")
    if lines:
        raise UserError(
            "bound last, but not everywhere; bind the narrower names too:\n  " + "\n  ".join(lines)
        )


def _pattern(name: str) -> str:
    """Matches a line that binds this name, in the form of `iterate_bindings`."""
    scope, _, rest = name.rpartition("/")
    return rf"^\s*{re.escape(scope + '/' if scope else '')}(t5x_selfprog\.)?{re.escape(rest)}\s*="


def _describes_machine_or_model(path: str) -> bool:
    folders = tuple(str(GIN_FOLDER / folder) + os.sep for folder in ("slices", "models"))
    return os.path.abspath(path).startswith(folders)


def _plain_name(spelled: str) -> str:
    """The name in the form of `iterate_bindings`."""
    scope, slash, rest = spelled.strip().rpartition("/")
    return scope + slash + rest.removeprefix("t5x_selfprog.")


def _is_slice(path: str) -> bool:
    return not files.is_remote(path) and Path(path).resolve().parent == GIN_FOLDER / "slices"


def _open_remote(path: str) -> IO[str]:
    return io.TextIOWrapper(files.open_read(path), "utf-8")


def iterate_bindings() -> Iterator[Binding]:
    """All current bindings, sorted by name; macros are `NAME`."""
    found = []
    for (scope, selector), parameters in gin_config._CONFIG.items():
        for parameter, value in parameters.items():
            scope_prefix = f"{scope}/" if scope else ""
            if selector == "gin.macro":
                name = scope
            else:
                name = f"{scope_prefix}{selector.removeprefix('t5x_selfprog.')}.{parameter}"
            found.append(Binding(name, repr(value)))
    return iter(sorted(found, key=lambda binding: binding.name))


def bindings() -> dict[str, str]:
    """The current bindings, as `run_dir.open_run` takes them."""
    return {binding.name: binding.value for binding in iterate_bindings()}


def config_text() -> str:
    """The current bindings as one gin file."""
    return gin.config_str()


def _all_paths(parsed: gin_config.ParsedConfigFileIncludesAndImports) -> list[str]:
    """The paths of a file and of those it includes, whose names are relative to here or to `GIN_FOLDER`."""
    name = parsed.filename
    here = name if files.is_remote(name) or os.path.isfile(name) else str(GIN_FOLDER / name)
    return [here, *(path for included in parsed.includes for path in _all_paths(included))]
