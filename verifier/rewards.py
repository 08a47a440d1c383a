"""Verdicts as rewards for reinforcement learning, in the signature that TRL, Tunix and MaxText call.

They call `reward(prompts=..., completions=..., **columns)` with equally long lists, where the columns are those of the
data set, and take a list of floats. The columns say what is judged: `puzzle`, or those of a task of
suite_files.make_suite (`entry_point` and `test`; `test_list`; `inputs` and `outputs`; ...), or `task`, an object of
these or its JSON text.
"""

import atexit
import json
import os
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from verifier.errors import UserError
from verifier.pool import Pool, PoolError
from verifier.unit_tests.suite_files import FORMS, make_suite
from verifier.unit_tests.suites import Suite
from verifier.verdict import Limits

Message = Mapping[str, Any]
Text = str | Sequence[Message]

_FENCED = re.compile(r"```[ \t]*(python|py|python3|)[ \t]*\r?\n(.*?)(?:```|\Z)", re.S | re.I)
_HEADER = re.compile(r"(?:^|\n)(def g\([^\n]*:[ \t]*\n?)\Z")
_DEFINES_G = re.compile(r"^(?:def g\b|g\s*=|class g\b)", re.M)
_KEPT_SUITES = 4096


class Reward:
    """A reward function with a pool of its own, made at the first call: 1.0 for accepted attempts, else 0.0.

    workers, limits, and others: arguments of `Pool`.
    infrastructure: the reward of an attempt that could not be judged; None raises PoolError, since no number is right.
    """

    def __init__(
        self,
        workers: int | None = None,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        *,
        infrastructure: float | None = None,
        **pool: Any,
    ):
        self._make = lambda: Pool(workers, limits, **pool)
        self._infrastructure = infrastructure
        self._pool: Pool | None = None
        self._owner = 0
        self._lock = threading.Lock()  # a pool judges one stream at a time
        self._suites: dict[str, Suite] = {}
        self.__name__ = "reward"  # trainers log a reward by its function's name

    def __call__(self, prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:
        """One float for each completion. Raises UserError where the columns do not say what is to be judged."""
        lists = {name: column for name, column in columns.items() if _is_column(column, len(completions))}
        if len(prompts) != len(completions):
            raise UserError(
                f"{len(prompts)} prompts and {len(completions)} completions: these must be as many"
            )
        attempts = [
            self._attempt(
                prompt, _text(completion), {name: _plain(column[i]) for name, column in lists.items()}
            )
            for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
        ]
        with self._lock:
            verdicts = list(self._open().judge(attempts))
        return [self._value(verdict) for verdict in verdicts]

    def close(self) -> None:
        """Ends the pool's processes. They end with this process in any case."""
        if self._pool is not None and self._owner == os.getpid():
            self._pool.close()
        self._pool = None

    def _open(self) -> Pool:
        if self._pool is None or self._owner != os.getpid():  # a forked trainer gets its own
            self._pool, self._owner = self._make(), os.getpid()
            atexit.register(self.close)
        return self._pool

    def _value(self, verdict: Any) -> float:
        if verdict.outcome != "infrastructure":
            return float(verdict.accepted)
        if self._infrastructure is None:
            raise PoolError(
                f"an attempt could not be judged: {verdict.detail}; see `python -m verifier doctor`"
            )
        return self._infrastructure

    def _attempt(self, prompt: Text, completion: str, row: dict[str, Any]) -> dict[str, str]:
        code = code_of(completion)
        puzzle = row.get("puzzle")
        if isinstance(puzzle, str):
            header = _HEADER.search(_text(prompt))
            goes_on = header is not None and not _DEFINES_G.search(code)
            return {"puzzle": puzzle, "solution": header[1] + completion if header and goes_on else code}
        task = row.get("task", row)
        if isinstance(prompt, str) and isinstance(task, dict):
            task = {"prompt": prompt, **task}
        suite = self._suite(task)
        if suite.above and not re.search(rf"^def {re.escape(suite.entry_point)}\b", code, re.M):
            return suite.attempt(suite.above + completion)  # it continues the prompt
        return suite.attempt(code)

    def _suite(self, task: Any) -> Suite:
        try:
            row = json.loads(task) if isinstance(task, str) else task
        except (ValueError, RecursionError) as e:
            raise UserError(
                f"the column `task` must be an object or its JSON text: {e}: {task[:60]!r}"
            ) from e
        if not isinstance(row, Mapping) or not any(name in row for name in FORMS):
            raise UserError(
                f"nothing says what is to be judged: no column `puzzle`, `task`, {', '.join(FORMS)}; "
                f"there are {', '.join(row) if isinstance(row, Mapping) and row else 'none'}"
            )
        row = {name: value for name, value in row.items() if value is not None}  # drop other rows' columns
        key = json.dumps(row, sort_keys=True, default=repr)
        if key not in self._suites:
            if len(self._suites) >= _KEPT_SUITES:
                self._suites.clear()
            self._suites[key] = make_suite(row)
        return self._suites[key]


def _is_column(value: Any, count: int) -> bool:
    return (
        hasattr(value, "__getitem__") and not isinstance(value, str | bytes | Mapping) and len(value) == count
    )


def _plain(value: Any) -> Any:
    """A column's entry as a plain value, also from NumPy or bytes."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value) if isinstance(value, str) else value


def _text(said: Text) -> str:
    """The text of a completion or a prompt, or of a conversation's last message."""
    if isinstance(said, str):
        return str(said)
    if said is None or isinstance(said, bytes):
        raise UserError(f"prompts and completions must be texts or conversations, one is {said!r:.60}")
    content = said[-1].get("content") if len(said) else ""
    if isinstance(content, str):
        return str(content)
    parts = [content] if isinstance(content, Mapping) else content or ()  # of a message that may hold images
    return "".join(str(part["text"]) for part in parts if isinstance(part.get("text"), str))


def code_of(completion: str) -> str:
    """The last fenced block marked as Python, else the last unmarked one; without a fence, all of the text."""
    blocks = _FENCED.findall(completion)
    said = [block for language, block in blocks if language] or [block for _, block in blocks]
    return said[-1] if said else completion


reward = Reward()
