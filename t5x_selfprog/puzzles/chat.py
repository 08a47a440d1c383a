"""Conversations as a tuned model was taught to read them: its own chat template, filled in.

A template is a Jinja program that came with the model (`chat_template.jinja`, or `chat_template` in
tokenizer_config.json); it runs in Jinja's sandbox. What it writes between messages holds names of special tokens that
stand for those tokens; what stands in a message is text, and can never become one (`tokenizer.control`).

Left out: today's date. Some templates would write it into the prompt, and a run that goes on tomorrow must ask what it
asked today; given no date, they write a fixed one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

from t5x_selfprog.tokenizer import CLOSE, OPEN, Tokenizer, control
from verifier.errors import UserError

USER, ASSISTANT = "user", "assistant"
Message = tuple[str, str]  # who says it, and what


@dataclass(frozen=True)
class ChatTemplate:
    """names: `bos_token` and the like, which templates may ask for. controls: names that stand for tokens."""

    source: str
    names: Mapping[str, str]
    controls: Sequence[str]
    model: str

    @classmethod
    def of(cls, tokenizer: Tokenizer, model: str) -> ChatTemplate:
        """Raises UserError where the model came without one."""
        if not tokenizer.chat_template:
            raise UserError(
                f"{model}: no chat template came with this model (looked for chat_template.jinja, and for "
                "chat_template in tokenizer_config.json), so it cannot be asked in conversation: unset "
                "SolvePrompt.chat and sample_puzzles.run.chat, or start from a model tuned for conversations"
            )
        return cls(tokenizer.chat_template, tokenizer.names, tokenizer.controls, model)

    def render(self, messages: Sequence[Message], reply: str | None = None) -> str:
        """The text of a conversation, its special tokens marked for `Tokenizer.encode`.

        Args:
          reply: how the answer to the last message begins ("": at its beginning); None ends with the last message.

        Raises:
          UserError: the template is not Jinja, refuses these messages, or leaves one out.
        """
        # Some templates trim what a message holds, or look into it, so stand-ins go through them.
        stand_ins = [f"\ue000{number}\ue001" for number in range(len(messages))]
        turns = [
            {"role": role, "content": stand_in}
            for (role, _), stand_in in zip(messages, stand_ins, strict=True)
        ]
        written = self._run(turns, reply is not None)
        parts = re.split("\ue000([0-9]+)\ue001", written)
        if [int(number) for number in parts[1::2]] != list(range(len(messages))):
            raise UserError(f"{self.model}: its chat template does not write every message once, in order")
        between = [self._marked(part) for part in parts[::2]]
        said = [_unmarked(content) for _, content in messages]
        text = between[0] + "".join(what + after for what, after in zip(said, between[1:], strict=True))
        return text + _unmarked(reply or "")

    def _run(self, turns: list[dict[str, str]], asks: bool) -> str:
        from jinja2 import TemplateError

        try:
            return self._compiled.render(messages=turns, add_generation_prompt=asks, **self.names)
        except TemplateError as error:
            raise UserError(f"{self.model}: its chat template cannot be used ({error})") from error
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            raise UserError(
                f"{self.model}: its chat template fails ({type(error).__name__}: {error})"
            ) from error

    @cached_property
    def _compiled(self) -> Any:
        from jinja2 import TemplateError
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        # Set as transformers sets it: templates are written for that.
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = lambda value, **how: json.dumps(value, ensure_ascii=False, **how)
        environment.globals["raise_exception"] = _refuse
        try:
            return environment.from_string(self.source)
        except TemplateError as error:
            raise UserError(f"{self.model}: its chat template is not Jinja ({error})") from error

    def _marked(self, text: str) -> str:
        longest_first = sorted(self.controls, key=len, reverse=True)
        if not longest_first:
            return text
        names = "|".join(map(re.escape, longest_first))
        return re.sub(names, lambda found: control(found[0]), text)


def _unmarked(text: str) -> str:
    return text.replace(OPEN, "\ufffd").replace(CLOSE, "\ufffd")


def _refuse(message: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError(message)
