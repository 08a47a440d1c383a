"""How a suite's tasks are put to a model: as text to continue, or in conversation (its own chat template).

In conversation the task is a code block in the question and the program a code block in the answer: the one begun for
the model ("begun", as in evalplus), or the last of its own blocks that defines the function ("free"). Whatever the
answer does not repeat of the prompt (imports, helpers) is missing, as in evalplus.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from t5x_selfprog.evaluation.suite_tasks import SuiteTask, whole_lines
from t5x_selfprog.puzzles.chat import USER, ChatTemplate
from t5x_selfprog.puzzles.question import END, FENCE
from t5x_selfprog.tokenizer import Tokenizer
from verifier.errors import UserError

Chat = Literal["", "begun", "free"]
CHATS = ("", "begun", "free")

LEAD = "Solve this in Python: write one program with everything it needs, in one code block.\n\n"
_BLOCK = re.compile(r"^```[^\n`]*\n(.*?)(?:^```|\Z)", re.DOTALL | re.MULTILINE)
_FENCE = re.compile(r"^```", re.MULTILINE)


@dataclass(frozen=True)
class SuiteAsking:
    """template: None where the model continues text."""

    tokenizer: Tokenizer
    chat: Chat = ""
    template: ChatTemplate | None = None

    @classmethod
    def of(cls, chat: Chat, tokenizer: Tokenizer, model: str) -> SuiteAsking:
        """Raises UserError for a conversation with a model that came without a template."""
        if chat not in CHATS:
            raise UserError(f"--chat={chat}: choose {' or '.join(CHATS[1:])}, or leave it out.")
        return cls(tokenizer, chat, ChatTemplate.of(tokenizer, model) if chat else None)

    def asked(self, task: SuiteTask) -> str:
        """The prompt of a task."""
        if self.template is None:
            return task.asked(self.tokenizer.encode)
        question = f"{LEAD}{FENCE}{task.text.strip()}{END}"
        return self.template.render([(USER, question)], FENCE if self.chat == "begun" else "")

    def program(self, task: SuiteTask, asked: str, completion: str) -> str:
        """The whole program, from a completion of `asked`."""
        if self.template is None:
            return task.program(asked, completion)
        if self.chat == "begun":
            return whole_lines("", _FENCE.split(completion)[0], task.entry_point).rstrip() + "\n"
        blocks = [block for block in _BLOCK.findall(completion) if block.strip()] or [completion]
        defines = re.compile(rf"^(?:async )?def {re.escape(task.entry_point)}\b", re.MULTILINE)
        with_it = [block for block in blocks if task.entry_point and defines.search(block)]
        return whole_lines("", (with_it or blocks)[-1], task.entry_point).rstrip() + "\n"
