"""A puzzle as a question in prose, and the solution in an answer.

Environments build on it too, so it imports nothing heavy.
"""

import re

LEAD = "This is a puzzle, a Python function:\n\n"
ASK = "Write the function `g` that solves it: `f(g())` must be True. Answer with its code alone, beginning with `{}`."
FENCE, END = "```python\n", "\n```"

_BLOCK = re.compile(r"```[^\n`]*\n(.*?)(?:^```|\Z)", re.DOTALL | re.MULTILINE)
_SOLUTION = re.compile(r"^def g\b", re.MULTILINE)


def question(puzzle: str, header: str) -> str:
    """What a user says; `header` is how the solution begins."""
    return f"{LEAD}{FENCE}{puzzle.strip(chr(10))}{END}\n\n{ASK.format(header)}"


def solution_of_answer(answer: str) -> str:
    """The solution in an answer in prose: from `def g` on, in the first code block that has it.

    An answer without one is its first code block, or all of it, for the verifier to refuse.
    """
    blocks = [block for block in _BLOCK.findall(answer) if block.strip()]
    for text in (*blocks, answer):
        if found := _SOLUTION.search(text):
            return text[found.start() :]
    return blocks[0] if blocks else answer


def rest_of_assertion(answer: str, assertion: str) -> str:
    """What follows `assertion` in an answer in prose, on the same line; its first code block that has it counts.

    An answer without it is its first code block, where values may stand alone; "" if it has none.
    """
    blocks = [block for block in _BLOCK.findall(answer) if block.strip()]
    for line in (line for text in (*blocks, answer) for line in text.split("\n")):
        if line.strip().startswith(assertion):
            return line.strip()[len(assertion) :]
    return blocks[0].strip() if blocks else ""
