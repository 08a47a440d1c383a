"""The outcomes of judging. A module of their own, because workers import it and must stay small."""

VERSION = "6"  # of the judgement: raise it when the same attempt may get another outcome

ACCEPTED = "accepted"  # f(g()) is True
WRONG = "wrong"  # f returned something else or raised
WRONG_TYPE = "wrong_type"  # the answer is not of the annotated type
BAD_ANSWER = "bad_answer"  # the answer is not a plain built-in value
SYNTAX = "syntax"  # the solution does not compile
CPU_LIMIT = "cpu_limit"
WALL_LIMIT = "wall_limit"
MEMORY_LIMIT = "memory_limit"
OUTPUT_LIMIT = "output_limit"  # the answer is too large, or too much was printed
KILLED = "killed"  # the process died: crash, exit, signal
UNSTABLE = "unstable"  # accepted, but not again under another hash seed (only when certifying)
INFRASTRUCTURE = "infrastructure"  # our failure, not the attempt's: retried once, then reported as this
ERROR = "error:"  # followed by the class of the exception the solution raised

OUTCOMES = (
    ACCEPTED,
    WRONG,
    WRONG_TYPE,
    BAD_ANSWER,
    SYNTAX,
    CPU_LIMIT,
    WALL_LIMIT,
    MEMORY_LIMIT,
    OUTPUT_LIMIT,
    KILLED,
    UNSTABLE,
    INFRASTRUCTURE,
)
