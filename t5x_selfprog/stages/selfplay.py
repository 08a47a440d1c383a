"""An alternative stage 6: self-play, which also rewards the proposer and reasons about programs.

A batch has up to four parts, all written by the current weights: puzzles are proposed and screened; valid and new
proposals are attempted, and so are puzzles of stage 2; outputs of programs are deduced; inputs are found for outputs
(abduction). Proposals are rewarded by ProposerReward, everything else by its verdict.

Reads:    2_kept and 4_verdicts of the iteration, kept puzzles of earlier ones, train and held-out problems.
Writes:   RUN/iter_NNN/6_checkpoints: programs, rollouts/NNNN/{proposals,screened,attempts} (ledgers), Orbax steps,
          metrics.jsonl, done.json.
Restart:  the newest checkpoint, and for the batch under way the shard; what a batch holds is a function of
          (run seed, iteration, batch) and of the batches before it.
Left out: proposals in the datasets of later iterations (stages 1 to 5 make those, with the resulting weights).
"""

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

import gin
from t5x_selfprog import hosts
from t5x_selfprog.bounds import Count, Whole
from t5x_selfprog.model import network, store
from t5x_selfprog.puzzles.asking import asking
from t5x_selfprog.puzzles.behaviour import BehaviourCheck
from t5x_selfprog.puzzles.prompts import (
    PuzzlePrompts,
    SolvePrompt,
    examples_of,
    puzzle_from_completion,
)
from t5x_selfprog.puzzles.proposing import Proposed, ProposerReward
from t5x_selfprog.puzzles.reasoning import Reasoning, program, reasonings
from t5x_selfprog.puzzles.rules import Kept, PuzzleFilter, PuzzleRules
from t5x_selfprog.puzzles.shape import shape_id
from t5x_selfprog.puzzles.source import short_hash
from t5x_selfprog.sampling.interface import Completion, Request, SamplingConfig
from t5x_selfprog.sampling.sampler import Sampler
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.filter_puzzles import like_held_out
from t5x_selfprog.stages.grpo import Group, candidates, chosen_of
from t5x_selfprog.stages.policy_learning import (
    ROLLOUT,
    Pace,
    Record,
    Workers,
    batch_folder,
    chosen_tokens,
    conclude,
    finished,
    fits_row,
    learn,
    made_sampler,
    outcomes_of,
    require_float_base,
    require_own_distribution,
    sample_and_judge,
)
from t5x_selfprog.training.lora import Lora
from t5x_selfprog.training.policy_gradient import PolicyGradient
from t5x_selfprog.training.rollouts import Groups, group, judged_by_puzzle, rewarded, together
from t5x_selfprog.training.train_loop import LoopConfig
from verifier import Limits
from verifier.errors import UserError
from verifier.outcomes import ACCEPTED
from verifier.storage import files
from verifier.storage.records import PUZZLE, Kind, Schema
from verifier.storage.shards import Ledger

ATTEMPTED: Schema = {**ROLLOUT, "task": Kind.TEXT}
PROPOSAL: Schema = {
    **PUZZLE,
    "prompt": Kind.TEXT,
    "stop_reason": Kind.TEXT,
    "tokens": Kind.INTS,
    "logprobs": Kind.FLOATS,
}
SCREENED: Schema = {"puzzle_id": Kind.TEXT, "reason": Kind.TEXT, "novelty": Kind.FLOAT}
PROGRAM: Schema = {"kind": Kind.TEXT, "text": Kind.TEXT, "puzzle": Kind.TEXT}
TASKS = ("proposal", "puzzle", "deduction", "abduction")
KNOWN = "duplicate"  # the reason for which a valid puzzle is not new


@dataclasses.dataclass(frozen=True)
class Mix:
    """What a batch consists of; everything is attempted in groups of the same size.

    Attributes:
      prompts: prompts for puzzles, each completed as often as a puzzle is attempted.
      puzzles: stage 2's puzzles that stage 4 found learnable, attempted beside all valid and new proposals.
      deductions: programs whose output on an input is asked for.
      abductions: programs for whose output an input is asked for.
    """

    prompts: Whole = 4
    puzzles: Whole = 4
    deductions: Whole = 4
    abductions: Whole = 4

    def __post_init__(self) -> None:
        if not any(dataclasses.astuple(self)):
            raise UserError(
                "Mix: prompts, puzzles, deductions and abductions are all 0, so nothing is attempted."
            )


@gin.configurable(module="selfplay")
def run(
    context: Context,
    iteration: int,
    start: str,
    output: str,
    objective: PolicyGradient = PolicyGradient(),
    loop: LoopConfig = LoopConfig(),
    sampling: SamplingConfig = gin.REQUIRED,
    proposing: SamplingConfig = gin.REQUIRED,
    mix: Mix = Mix(),
    reward: ProposerReward = ProposerReward(),
    rules: PuzzleRules = PuzzleRules(),
    screening: Limits = Limits(cpu_s=0.5),
    behaviour: BehaviourCheck | None = BehaviourCheck(),
    prompt: SolvePrompt = SolvePrompt(),
    limits: Limits = Limits(cpu_s=1.0),
    batches: Count = 20,
    attempts: Group = 8,
    updates: Count = 1,
    prompt_tokens: Count = 384,
    length: Count = 1024,
    lora: Lora | None = None,
) -> dict[str, Any]:
    """Proposes, screens, attempts, judges and learns, `batches` times.

    Args:
      sampling: of solutions, outputs and inputs.
      proposing: of puzzles.
      rules, screening, behaviour: as in stage 2; puzzles that behave like a held-out problem are not attempted.
      prompt_tokens: the most tokens of prompts for puzzles, which show train problems.
      updates, length, lora: as in grpo.run.

    Returns:
      done.json's content: as grpo.run's, with "tasks" (groups, alike, attempts and accepted of each kind) and
      "proposals" (how many, valid, new, the mean reward, and each part's share of it).

    Raises UserError if sampling is not from the model's own distribution, if rows are too short for proposals, or if
    deductions or abductions are asked for in conversation.
    """
    require_playable(sampling, proposing, mix, prompt, prompt_tokens, length, lora)
    done = finished(output)
    if done is not None:
        return done
    model = context.model(start)
    length = min(length, model.config.context_length)
    with Workers(context) as workers:
        play = _Play(
            context, iteration, model, output, objective, sampling.fitted(attempts), proposing.fitted(attempts), mix,
            reward, rules, screening, behaviour, prompt, limits, attempts, prompt_tokens, length, workers,
        )  # fmt: skip
        pace = Pace(batches, updates, length, max(sampling.max_new_tokens, proposing.max_new_tokens))
        identity = learn(
            context, iteration, model, play, output, objective, loop, pace, lora, f"{iteration}.6 self-play"
        )
    return conclude(
        output,
        {
            "step": batches * updates,
            "identity": identity,
            "start": model.identity,
            **_totals(output, batches, reward),
            "objective": dataclasses.asdict(objective),
            "reward": dataclasses.asdict(reward),
            **({} if lora is None else {"lora": dataclasses.asdict(lora)}),
        },
    )


def require_playable(
    sampling: SamplingConfig,
    proposing: SamplingConfig,
    mix: Mix,
    prompt: SolvePrompt,
    prompt_tokens: int,
    length: int,
    lora: Lora | None,
) -> None:
    """Raises UserError for settings that cannot work, before any work begins."""
    require_own_distribution(sampling, "selfplay.run.sampling")
    require_own_distribution(proposing, "selfplay.run.proposing")
    require_float_base(lora, "selfplay.run.lora")
    if prompt.chat and (mix.deductions or mix.abductions):
        raise UserError(
            f"selfplay.run.prompt: SolvePrompt.chat={prompt.chat!r}: deductions and abductions are texts that go on, "
            "not conversations. Set Mix.deductions = 0 and Mix.abductions = 0, or SolvePrompt.chat = ''."
        )
    if mix.prompts and prompt_tokens + proposing.max_new_tokens > length:
        raise UserError(
            f"selfplay.run.length={length}: a prompt for puzzles (selfplay.run.prompt_tokens={prompt_tokens}) and its "
            f"answer ({proposing.max_new_tokens}, SamplingConfig.max_new_tokens) do not fit a row. Raise the first "
            "or lower one of the others."
        )


@dataclasses.dataclass
class _Play:
    """The batches of one training."""

    context: Context
    iteration: int
    model: store.LoadedModel
    output: str
    objective: PolicyGradient
    sampling: SamplingConfig
    proposing: SamplingConfig
    mix: Mix
    reward: ProposerReward
    rules: PuzzleRules
    screening: Limits
    behaviour: BehaviourCheck | None
    prompt: SolvePrompt
    limits: Limits
    attempts: int
    prompt_tokens: int
    length: int
    workers: Workers

    def __post_init__(self):
        self._way = asking(self.prompt, self.model.tokenizer, self.model.path)
        self.sampling = self._way.sampling(self.sampling)
        self._puzzles = list(candidates(self.context, self.iteration))
        self._screen: _Screen | None = None

    def groups(self, number: int, weights: network.Params) -> Groups:
        proposals, shown = self._proposed(number, weights)
        screened = self._screened(number, proposals)
        attempted, prompts = self._attempted(number, weights, proposals, screened)
        by_prompt: dict[str, list[tuple[Record, float]]] = {}
        for proposal, proposed in _outcomes(proposals, screened, attempted):
            by_prompt.setdefault(proposal["prompt"], []).append((proposal, self.reward.of(proposed)))
        return together(
            rewarded(self.objective, {name: (shown[name], found) for name, found in by_prompt.items()}),
            group(self.objective, prompts, attempted),
        )

    # Proposals.

    def _proposed(
        self, number: int, weights: network.Params
    ) -> tuple[list[Record], dict[str, Sequence[int]]]:
        """The proposals of a batch, and the tokens of their prompts by name."""
        if not self.mix.prompts:
            return [], {}
        context = self.context
        prompts = {
            f"{number}/{i}": self._drawer.draw((context.experiment.seed, self.iteration, number, i))
            for i in range(self.mix.prompts)
        }
        sampler = made_sampler(context, self.model, weights, self.proposing, number)

        def record(request: Request, completion: Completion) -> Record:
            asked = prompts[request.item_id]
            source = puzzle_from_completion(asked.number, completion.text, asked.begun).rstrip()
            return {
                "puzzle_id": short_hash(source),
                "source": source,
                "answer_type": "",
                "origin": f"selfplay/{request.item_id}/{completion.sample_index}",
                "prompt_puzzle_ids": list(asked.puzzle_ids),
                "prompt": request.item_id,
                "checkpoint": sampler.checkpoint,
                **chosen_tokens(completion),
            }

        ledger = self._ledger(number, "proposals", PROPOSAL)
        sample_and_judge(
            context, ledger, sampler, self._key(number, "selfplay proposals"),
            [(name, asked.text) for name, asked in prompts.items()], self.attempts, record,
        )  # fmt: skip
        return list(ledger), {name: sampler.document(asked.text) for name, asked in prompts.items()}

    @functools.cached_property
    def _drawer(self) -> PuzzlePrompts:
        tokenizer = self.model.tokenizer
        return PuzzlePrompts(
            examples_of(self.context.train_problems),
            budget_tokens=self.prompt_tokens,
            count_tokens=lambda text: len(tokenizer.encode(text)),
        )

    def _screened(self, number: int, proposals: Sequence[Record]) -> list[Record]:
        """The result of screening each proposal; host 0 decides. Collective."""
        if not proposals:
            return []
        context = self.context
        ledger = self._ledger(number, "screened", SCREENED, shards=1)
        if context.pending(ledger):
            if hosts.is_first():
                if self._screen is None or self._screen.batches != number:
                    self._screen = self._after(number)
                ledger.commit(0, list(self._screen.offer(proposals)))
            context.finish(ledger)
        return list(ledger)

    def _after(self, number: int) -> "_Screen":
        """The screen in the state that earlier batches left."""
        screen = _Screen(self)
        for earlier in range(number):
            screen.remember(
                self._ledger(earlier, "proposals", PROPOSAL),
                self._ledger(earlier, "screened", SCREENED, shards=1),
            )
        return screen

    # Attempts at proposals, puzzles and programs.

    def _attempted(
        self, number: int, weights: network.Params, proposals: Sequence[Record], screened: Sequence[Record]
    ) -> tuple[list[Record], dict[str, Sequence[int]]]:
        """Judged attempts of a batch, and the tokens of their prompts by name."""
        context, key = self.context, (self.context.experiment.seed, self.iteration)
        sampler = made_sampler(context, self.model, weights, self.sampling, number, self._way.prefix)
        chosen = [
            (shown["puzzle_id"], proposal["source"], "proposal")
            for proposal, shown in zip(proposals, screened, strict=True)
            if not shown["reason"]
        ]
        chosen += [(*item, "puzzle") for item in chosen_of(self._puzzles, self.mix.puzzles, number, key)]
        solving = {name: (task, source, self._way.request(source)) for name, source, task in chosen}
        reasoning = {task.task_id: task for task in self._reasonings(number)}
        texts = {name: asked.text for name, (_, _, asked) in solving.items()}
        texts |= {name: task.text for name, task in reasoning.items()}
        fitting = [(name, text) for name, text in texts.items() if self._fits(sampler, text)]

        def record(request: Request, completion: Completion) -> Record:
            name = request.item_id
            if name in reasoning:
                task, puzzle = str(reasoning[name].kind), reasoning[name].puzzle
                solution = reasoning[name].solution(completion.text)
            else:
                task, puzzle, asked = solving[name]
                solution = asked.solution(completion.text).rstrip() + "\n"
            return {
                "puzzle_id": name,
                "puzzle": puzzle,
                "solution": solution,
                "task": task,
                "checkpoint": sampler.checkpoint,
                **chosen_tokens(completion),
            }

        ledger = self._ledger(number, "attempts", ATTEMPTED)
        sample_and_judge(
            context, ledger, sampler, self._key(number, "selfplay attempts"), fitting, self.attempts, record,
            lambda records: outcomes_of(records, self.workers.pool(self.limits)),
        )  # fmt: skip
        return list(ledger), {name: sampler.document(text) for name, text in fitting}

    def _reasonings(self, number: int) -> list[Reasoning]:
        """A batch's tasks about programs: all in turn, each epoch in a new order."""
        found: list[Reasoning] = []
        for kind, count in (("deduction", self.mix.deductions), ("abduction", self.mix.abductions)):
            tasks = {task.task_id: task for task in self._programs if task.kind == kind} if count else {}
            key = (self.context.experiment.seed, self.iteration, TASKS.index(kind))
            found += [
                tasks[name] for name, _ in chosen_of([(name, "") for name in tasks], count, number, key)
            ]
        return found

    @functools.cached_property
    def _programs(self) -> list[Reasoning]:
        """Tasks about accepted solutions of the iteration and of train problems, the shortest of each puzzle."""
        context = self.context
        ledger = context.ledger(files.join(self.output, "programs"), "programs", PROGRAM, shards=1)
        if context.pending(ledger):
            if hosts.is_first():
                ledger.commit(0, list(self._run_programs()))
            context.finish(ledger)
        return [Reasoning(_task_id(row), row["kind"], row["text"], row["puzzle"]) for row in ledger]

    def _run_programs(self) -> Iterator[Record]:
        shortest = {
            problem.puzzle_id: problem.solutions[0]
            for problem in self.context.train_problems
            if problem.solutions
        }
        for verdict in self.context.run.read(self.iteration, "verdicts"):
            if verdict["outcome"] == ACCEPTED:
                known = shortest.get(verdict["puzzle_id"])
                if known is None or (len(verdict["solution"]), verdict["solution"]) < (len(known), known):
                    shortest[verdict["puzzle_id"]] = verdict["solution"]
        solutions = sorted(set(shortest.values()))
        outputs = self.workers.pool(self.limits).answers(solutions)
        for solution, answer in zip(solutions, outputs, strict=True):
            given = None if answer is None else program(solution, answer[0])
            for task in reasonings(given) if given is not None else ():
                yield {"kind": task.kind, "text": task.text, "puzzle": task.puzzle}

    def _fits(self, sampler: Sampler, text: str) -> bool:
        return fits_row(sampler, text, self.length, self.sampling.max_new_tokens)

    def _ledger(self, number: int, name: str, schema: Schema, shards: int | None = None) -> Ledger:
        return self.context.ledger(files.join(batch_folder(self.output, number), name), name, schema, shards)

    def _key(self, number: int, name: str) -> jax.Array:
        return jax.random.fold_in(self.context.key(self.iteration, name), number)


class _Screen:
    """Screens proposals batch by batch; a proposal is new if none like it came before."""

    def __init__(self, play: _Play):
        self._play, self.batches = play, 0
        context = play.context
        kept = [
            puzzle["source"]
            for earlier in range(play.iteration + 1)
            for puzzle in context.run.read(earlier, "kept")
        ]
        self._filter = PuzzleFilter(play.rules, problems=context.problems, known=kept)
        self._shapes = Counter(shape_id(source) for source in kept)

    def remember(self, proposals: Ledger, screened: Ledger) -> None:
        """Takes in a batch that was screened before."""
        for proposal, _ in zip(proposals, screened, strict=True):
            self._offered(proposal["source"])
        self.batches += 1

    def offer(self, proposals: Sequence[Record]) -> Iterator[Record]:
        """SCREENED records of the next batch."""
        play = self._play
        found = [self._offered(proposal["source"]) for proposal in proposals]
        survivors = [kept.source for kept, _, _ in found if kept is not None]
        reports = play.workers.pool(play.screening).screen_puzzles(survivors)
        refused = {
            source: report.reason or "refused"
            for source, report in zip(survivors, reports, strict=True)
            if not report.ok
        }
        passed = [source for source in survivors if source not in refused]
        if play.behaviour is not None and passed:
            refused |= dict.fromkeys(like_held_out(play.context, passed, play.behaviour), "contaminated")
        self.batches += 1
        for proposal, (kept, reason, novelty) in zip(proposals, found, strict=True):
            if kept is None:
                yield {"puzzle_id": proposal["puzzle_id"], "reason": reason, "novelty": 0.0}
            else:
                reason = refused.get(kept.source, "")
                yield {"puzzle_id": kept.puzzle_id, "reason": reason, "novelty": 0.0 if reason else novelty}

    def _offered(self, source: str) -> tuple[Kept | None, str, float]:
        """The puzzle, or the reason why it is none, and how new its shape is."""
        result = self._filter.offer(source)
        if not isinstance(result, Kept):
            return None, result.reason, 0.0
        self._shapes[result.shape] += 1
        return result, "", 1 / self._shapes[result.shape]


def _task_id(row: Mapping[str, Any]) -> str:
    return f"{row['kind']}/{short_hash(row['text'])}"


def _outcomes(
    proposals: Sequence[Record], screened: Sequence[Record], attempted: Sequence[Record]
) -> Iterator[tuple[Record, Proposed]]:
    """Proposals with their outcomes, except valid and new ones that could not be attempted."""
    tried = judged_by_puzzle(attempted)
    for proposal, shown in zip(proposals, screened, strict=True):
        if shown["reason"]:
            yield proposal, Proposed(valid=shown["reason"] == KNOWN)
        elif judged := tried.get(shown["puzzle_id"]):
            accepted = sum(record["outcome"] == ACCEPTED for record in judged)
            yield proposal, Proposed(True, shown["novelty"], accepted, len(judged))


def _totals(output: str, batches: int, reward: ProposerReward) -> dict[str, Any]:
    """Totals over all batches, counted from disk, because an interrupted run may have made some."""
    tasks = {name: Counter[str]() for name in TASKS[1:]}
    proposals: list[Proposed] = []
    asked = valid = new = 0
    for number in range(batches):
        folder = batch_folder(output, number)
        attempted = list(Ledger.open(files.join(folder, "attempts")))
        if files.is_folder(files.join(folder, "proposals")):
            made, screened = (
                list(Ledger.open(files.join(folder, name))) for name in ("proposals", "screened")
            )
            asked += len(made)
            valid += sum(shown["reason"] in ("", KNOWN) for shown in screened)
            new += sum(not shown["reason"] for shown in screened)
            proposals += [proposed for _, proposed in _outcomes(made, screened, attempted)]
        for judged in judged_by_puzzle(attempted).values():
            right = sum(record["outcome"] == ACCEPTED for record in judged)
            # A proposed puzzle counts like any other.
            count = tasks[judged[0]["task"] if judged[0]["task"] in tasks else "puzzle"]
            count.update(groups=1, alike=int(right in (0, len(judged))), attempts=len(judged), accepted=right)
    names = ("groups", "alike", "attempts", "accepted")
    counts = {task: {name: count[name] for name in names} for task, count in tasks.items()}
    whole = {name: sum(count[name] for count in counts.values()) for name in names}
    mean = sum(map(reward.of, proposals)) / len(proposals) if proposals else 0.0
    return {
        **whole,
        "pairs": whole["attempts"] + asked,  # other stages call training examples pairs
        "tasks": counts,
        "proposals": {
            "asked": asked,
            "valid": valid,
            "new": new,
            "reward": round(mean, 6),
            "shares": reward.shares(proposals),
        },
    }
