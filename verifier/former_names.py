"""The names that modules had before they moved into wings: `import verifier.records` gives `verifier.storage.records`.

Both names give the same module. The former ones are kept for importers and for judged programs, some of which reach
for our modules by name: what such a program finds, and so its outcome, did not change when files moved.

`verifier.fleet`, `verifier.sandbox` and `verifier.worker` are wings now: what they held is in `fleet.follow`,
`sandbox.confine` and `worker.handle`. Workers import this, so it needs nothing but the import system itself.
"""

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_WINGS = {
    "language": "answer_types leniency literal puzzle policy screen shown console future text_codecs",
    "sandbox": "linux landlock seccomp namespaces isolation sweep host_limits",
    "worker": "area wire watch forker request child puzzles reports questions trivial",
    "unit_tests": "suites suite_calls suite_files suite_command mbpp_types",
    "storage": "files remote_files tfrecord example_wire records rows shards claims",
    "fleet": "service terms metrics beside beam",
}
_RENAMED = {
    "clock": "language.program_time",
    "judging": "worker.judge",
    "programs": "worker.runtime",
    "zygote": "worker.process",
}
FORMER = {name: f"{wing}.{name}" for wing, names in _WINGS.items() for name in names.split()} | _RENAMED


class _Finder:
    """Finds a module by its former name; for `sys.meta_path`."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, former = name.rpartition(".")
        if package != "verifier" or former not in FORMER:
            return None
        return ModuleSpec(name, _Alias())  # type: ignore[arg-type]  # a base class would cost another import


class _Alias:
    """Loads nothing: hands over the module of the present name, whose spec it keeps."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(f"verifier.{FORMER[spec.name.rpartition('.')[2]]}")
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system had put the former name's there


def install() -> None:
    """Makes modules importable by their former names."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def name_loaded() -> None:
    """Gives every loaded module its former name too, in `sys.modules` and in the package."""
    for former, present in FORMER.items():
        module = sys.modules.get(f"verifier.{present}")
        if module is not None:
            sys.modules[f"verifier.{former}"] = module
            setattr(sys.modules["verifier"], former, module)
