"""What goes into sampling and what comes out of it."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

from t5x_selfprog.bounds import Count, Decay, Mass, NotNegative, OneOf, Whole
from t5x_selfprog.sampling.row_attention import RowAttention, plain
from t5x_selfprog.sampling.token_choice import TokenChoice
from verifier.errors import UserError

IDLE_SHARE = 1 / 9  # idle rows per busy row that waiting for a prompt's last attempts may cost
DTYPES = ("float32", "bfloat16", "int8")
ATTENTIONS = ("plain", "triton")


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """How to sample, and the shape of the device's work.

    Attributes:
      prompts_in_flight, rows_per_prompt: G and R; G * R rows decode together. More rows per prompt read its cache less
        often; fewer rows lose less time waiting for its last attempts. With A attempts per prompt of random
        (exponential) lengths, rows are busy about 1 / (1 + R (1/2 + ... + 1/R) / A) of the time: for A = 32, 0.25
        with R = 32 and 0.88 with R = 4.
      max_new_tokens: an attempt ends here at the latest.
      prompt_buckets: lengths in tokens that prompts are padded to; the largest is the longest prompt (less where the
        model's context leaves less).
      prompts_per_load: how many prompts are computed together when that many wait; otherwise one at a time. On a
        mesh that splits the grid's groups, every part computes that many (or one) at the same time.
      idle_share: new prompts are loaded once this share of the groups is idle; 0 loads as soon as one is. On many
        chips one prompt takes as long as one for each.
      chunk_steps: decoding steps between two looks by the host.
      rows_in_flight: chooses G and R by the attempts at each prompt, so that about nine tenths of this many rows are
        busy (`fitted`); None leaves them as they are. Fewer rows per prompt take more memory for prompts.
      tail_prompts: at the end of a list of requests, the last rows move to a grid of this many groups (with several
        numbers, from one to the next) as soon as they fit; 0 keeps the large grid. On a mesh that splits the groups,
        it is rounded up to a number that splits too, and rows stay on their device.
      temperature, top_k, top_p: see TokenChoice.
      stop: "unindented" or "none", see StopRule.
      document_start: prompts begin with the token that begins a document in training (`Tokenizer.start_id`).
      weights_dtype, cache_dtype: the dtype of matrices and activations, and of keys and values: "float32",
        "bfloat16", or "int8" with a scale for each output, or position and head (then activations are bfloat16).
        What int8 costs in quality: results/speed/int8.json.
      attention: of a decoding step: "plain", or "triton" (NVIDIA GPU, caches of the weights' dtype), equal to rounding;
        see row_attention.py.
    """

    prompts_in_flight: Count = 32
    rows_per_prompt: Count = 4
    rows_in_flight: Count | None = None
    max_new_tokens: Count = 150
    prompt_buckets: tuple[Count, ...] = (128, 256, 512, 1024)
    prompts_per_load: Count = 4
    idle_share: Decay = 0.0
    chunk_steps: Count = 8
    tail_prompts: Whole | tuple[Whole, ...] = 8
    temperature: NotNegative = 0.9
    top_k: Whole = 0
    top_p: Mass = 1.0
    stop: Annotated[str, OneOf(("unindented", "none"))] = "unindented"
    document_start: bool = True
    weights_dtype: Annotated[str, OneOf(DTYPES)] = "float32"
    cache_dtype: Annotated[str, OneOf(DTYPES)] = "float32"
    attention: Annotated[str, OneOf(ATTENTIONS)] = "plain"

    def __post_init__(self):
        object.__setattr__(self, "prompt_buckets", tuple(sorted(self.prompt_buckets)))
        counts = ("prompts_in_flight", "rows_per_prompt", "max_new_tokens", "prompts_per_load", "chunk_steps")
        for name in counts:
            if getattr(self, name) < 1:
                raise UserError(f"SamplingConfig.{name}={getattr(self, name)}: must be at least 1.")
        if self.rows_in_flight is not None and self.rows_in_flight < 1:
            raise UserError(
                f"SamplingConfig.rows_in_flight={self.rows_in_flight}: must be at least 1, or None."
            )
        if min(self.tails(), default=0) < 0:
            raise UserError(f"SamplingConfig.tail_prompts={self.tail_prompts}: give numbers of groups, or 0.")
        if not self.prompt_buckets or self.prompt_buckets[0] < 1:
            raise UserError(
                f"SamplingConfig.prompt_buckets={self.prompt_buckets}: give lengths of at least 1."
            )
        if not 0.0 <= self.idle_share < 1.0:
            raise UserError(
                f"SamplingConfig.idle_share={self.idle_share}: must be at least 0 and less than 1."
            )
        if self.stop not in ("unindented", "none"):
            raise UserError(f"SamplingConfig.stop={self.stop!r}: choose 'unindented' or 'none'.")
        for name in ("weights_dtype", "cache_dtype"):
            if getattr(self, name) not in DTYPES:
                raise UserError(
                    f"SamplingConfig.{name}={getattr(self, name)!r}: choose {', '.join(map(repr, DTYPES))}."
                )
        if self.attention not in ATTENTIONS:
            raise UserError(
                f"SamplingConfig.attention={self.attention!r}: choose {', '.join(map(repr, ATTENTIONS))}."
            )
        self.token_choice()

    def buckets(self, room: int) -> tuple[int, ...]:
        """Lengths that prompts are padded to, increasing, where the model's context leaves `room` tokens for one."""
        return tuple(sorted({min(bucket, room) for bucket in self.prompt_buckets}))

    def tails(self) -> tuple[int, ...]:
        """Sizes of the smaller grids; 0 means none."""
        return self.tail_prompts if isinstance(self.tail_prompts, tuple) else (self.tail_prompts,)

    def fitted(self, attempts: int) -> "SamplingConfig":
        """The same with a grid of `rows_in_flight` rows that `attempts` at each prompt keep busy."""
        if self.rows_in_flight is None:
            return self
        rows = 1
        while 2 * rows <= self.rows_in_flight and _waiting(2 * rows) <= IDLE_SHARE * attempts:
            rows *= 2
        groups = max(1, self.rows_in_flight // rows)
        tails = (groups // 2, groups // 8) if any(self.tails()) else (0,)
        return dataclasses.replace(
            self, prompts_in_flight=groups, rows_per_prompt=rows, rows_in_flight=None, tail_prompts=tails
        )

    def groups_per_load(self) -> int:
        """How many groups must be idle before the next prompts are loaded."""
        return max(1, math.ceil(self.idle_share * self.prompts_in_flight))

    def token_choice(self) -> TokenChoice:
        """Raises UserError for impossible values."""
        return TokenChoice(self.temperature, self.top_k, self.top_p)

    def row_attention(self) -> RowAttention:
        """Imports Pallas only if it is needed."""
        if self.attention == "plain":
            return plain
        from t5x_selfprog.sampling.row_attention_triton import triton_attention

        return triton_attention


@dataclasses.dataclass(frozen=True)
class Request:
    """Attempts `first_sample` up to `first_sample + attempts` at one prompt (without the shared prefix).

    Attributes:
      lengths: n_tokens of each attempt that the run sampled before it was interrupted: they are not sampled again, but
        keep their place in the grid.
    """

    item_id: str
    prompt: str
    attempts: int
    first_sample: int = 0
    lengths: tuple[int, ...] | None = None


class Completion(NamedTuple):
    """One attempt.

    Attributes:
      text: what the model wrote, cut before the first unindented line if that ended it.
      n_tokens: tokens chosen, the stopping one included.
      logprob: the model's log-probability of these tokens (temperature 1, nothing cut off), in nats.
      stop_reason: "unindented", "eos" or "length".
      tokens, logprobs: the ids of the chosen tokens, and the log-probability of each.
    """

    item_id: str
    sample_index: int
    text: str
    n_tokens: int
    logprob: float
    stop_reason: str
    tokens: Sequence[int] = ()
    logprobs: Sequence[float] = ()


def _waiting(rows: int) -> float:
    """The total time `rows` rows of a prompt wait for its last attempt, in mean (exponential) attempt lengths."""
    return rows * sum(1 / i for i in range(2, rows + 1))
