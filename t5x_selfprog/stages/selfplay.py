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
from collections.abc import Mapping, Sequence
from typing import Any

import gin
from t5x_selfprog import hosts
from t5x_selfprog.evaluation.rollout_accounts import (
    KNOWN,
    TASKS,
    TaskCount,
    account,
    batch_folder,
    proposal_outcomes,
)
from t5x_selfprog.model import network
from t5x_selfprog.puzzles.asking import asking_about_programs
from t5x_selfprog.puzzles.prompts import PuzzlePrompts, examples_of, puzzle_from_completion
from t5x_selfprog.puzzles.proposing import ProposerReward
from t5x_selfprog.puzzles.source import short_hash
from t5x_selfprog.sampling.interface import Completion, Request
from t5x_selfprog.sampling.sampler import Sampler
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.grpo import candidates, chosen_of
from t5x_selfprog.stages.policy_learning import (
    ROLLOUT,
    Record,
    Session,
    Workers,
    chosen_tokens,
    conclude,
    finished,
    fits_row,
    learn,
    require_some_fit,
    sample_and_judge,
)
from t5x_selfprog.stages.policy_room import require_room
from t5x_selfprog.stages.policy_settings import Attempting, Mix, PolicyTraining, Proposing, require_playable
from t5x_selfprog.stages.program_tasks import ProgramTasks
from t5x_selfprog.stages.proposal_screen import SCREENED, Screen
from t5x_selfprog.training.lora import adapters_entry
from t5x_selfprog.training.rollouts import Groups, group, rewarded, together
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


@gin.configurable(module="selfplay")
def run(
    context: Context,
    iteration: int,
    start: str,
    output: str,
    attempting: Attempting = Attempting(),
    proposing: Proposing = Proposing(),
    training: PolicyTraining = PolicyTraining(),
    mix: Mix = Mix(),
) -> dict[str, Any] | None:
    """Proposes, screens, attempts, judges and learns, `training.batches` times.

    Args:
      attempting: of puzzles, and of tasks about programs.
      mix: what a batch consists of.

    Returns:
      done.json's content: as grpo.run's, with "tasks" (groups, alike, attempts and accepted of each kind) and
      "proposals" (how many, valid, new, the mean reward, and each part's share of it). None if there is nothing to
      attempt: no puzzles, no programs, and none are to be proposed.

    Raises UserError if sampling is not from the model's own distribution, or if rows are too short for proposals;
    NothingToLearn if none are asked for and nothing else fits a row.
    """
    require_playable(attempting, proposing, training, mix)
    done = finished(output)
    if done is not None:
        return done
    samplings = [each.sampling.fitted(training.attempts) for each in (attempting, proposing)]
    require_room(context, start, training, samplings)
    model = context.model(start)
    training = training.within(model.config)
    with Workers(context) as workers:
        session = Session(context, iteration, model, output, workers)
        play = _Play(session, attempting, proposing, training, mix)
        if not play.has_work():
            return None
        longest = max(attempting.sampling.max_new_tokens, proposing.sampling.max_new_tokens)
        identity = learn(session, play, training, longest, f"{iteration}.6 self-play")
    return conclude(
        output,
        {
            "step": training.steps,
            "identity": identity,
            "start": model.identity,
            **_totals(output, training.batches, proposing.reward),
            "objective": dataclasses.asdict(training.objective),
            "reward": dataclasses.asdict(proposing.reward),
            **adapters_entry(training.lora),
        },
    )


@dataclasses.dataclass
class _Play:
    """The batches of one training."""

    session: Session
    attempting: Attempting
    proposing: Proposing
    training: PolicyTraining
    mix: Mix

    def __post_init__(self):
        session, attempts = self.session, self.training.attempts
        self._way, self._assertion = asking_about_programs(
            self.attempting.prompt, session.model.tokenizer, session.model.path
        )
        self._sampling = self._way.sampling(self.attempting.sampling.fitted(attempts))
        self._proposals = self.proposing.sampling.fitted(attempts)
        self._puzzles = list(candidates(session.context, session.iteration))
        self._programs = ProgramTasks(session, self.attempting.limits)
        self._screen: Screen | None = None

    def has_work(self) -> bool:
        """Whether a batch can have any part. Raises NothingToLearn where no prompt of one fits a row. Collective."""
        if self.mix.prompts:
            return True
        texts = [self._way.request(source).text for _, source in self._puzzles if self.mix.puzzles]
        texts += [self._assertion(task.text).text for task in self._programs.asked_for(self.mix)]
        if texts:
            require_some_fit(self.session, texts, self._sampling, self.training.length, self._way.prefix)
        return bool(texts)

    def groups(self, number: int, weights: network.Params) -> Groups:
        objective = self.training.objective
        proposals, shown = self._proposed(number, weights)
        screened = self._screened(number, proposals)
        attempted, prompts = self._attempted(number, weights, proposals, screened)
        by_prompt: dict[str, list[tuple[Mapping[str, Any], float]]] = {}
        for proposal, proposed in proposal_outcomes(proposals, screened, attempted):
            by_prompt.setdefault(proposal["prompt"], []).append(
                (proposal, self.proposing.reward.of(proposed))
            )
        return together(
            rewarded(objective, {name: (shown[name], found) for name, found in by_prompt.items()}),
            group(objective, prompts, attempted),
        )

    # Proposals.

    def _proposed(
        self, number: int, weights: network.Params
    ) -> tuple[list[Record], dict[str, Sequence[int]]]:
        """The proposals of a batch, and the tokens of their prompts by name."""
        if not self.mix.prompts:
            return [], {}
        session = self.session
        prompts = {
            f"{number}/{i}": self._drawer.draw((session.seed, session.iteration, number, i))
            for i in range(self.mix.prompts)
        }
        sampler = session.sampler(weights, self._proposals, number)

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
            session.context, ledger, sampler, session.key(number, "selfplay proposals"),
            [(name, asked.text) for name, asked in prompts.items()], self.training.attempts, record,
        )  # fmt: skip
        return list(ledger), {name: sampler.document(asked.text) for name, asked in prompts.items()}

    @functools.cached_property
    def _drawer(self) -> PuzzlePrompts:
        tokenizer = self.session.model.tokenizer
        return PuzzlePrompts(
            examples_of(self.session.context.train_problems),
            budget_tokens=self.proposing.prompt_tokens,
            count_tokens=lambda text: len(tokenizer.encode(text)),
        )

    def _screened(self, number: int, proposals: Sequence[Record]) -> list[Record]:
        """The result of screening each proposal; host 0 decides. Collective."""
        if not proposals:
            return []
        context = self.session.context
        ledger = self._ledger(number, "screened", SCREENED, shards=1)
        if context.pending(ledger) and hosts.is_first():
            if self._screen is None or self._screen.batches != number:
                self._screen = self._after(number)
            ledger.commit(0, list(self._screen.offer(proposals)))
        context.finish(ledger)
        return list(ledger)

    def _after(self, number: int) -> Screen:
        """The screen in the state that earlier batches left."""
        screen = Screen(self.session, self.proposing)
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
        session = self.session
        sampler = session.sampler(weights, self._sampling, number, self._way.prefix)
        chosen = [
            (shown["puzzle_id"], proposal["source"], "proposal")
            for proposal, shown in zip(proposals, screened, strict=True)
            if not shown["reason"]
        ]
        chosen += [
            (*item, "puzzle") for item in chosen_of(self._puzzles, self.mix.puzzles, number, self._key)
        ]
        solving = {name: (task, source, self._way.request(source)) for name, source, task in chosen}
        reasoning = {
            task.task_id: (task, self._assertion(task.text)) for task in self._programs.of(number, self.mix)
        }
        texts = {name: asked.text for name, (_, _, asked) in solving.items()}
        texts |= {name: asked.text for name, (_, asked) in reasoning.items()}
        fitting = [(name, text) for name, text in texts.items() if self._fits(sampler, text)]

        def record(request: Request, completion: Completion) -> Record:
            name = request.item_id
            if name in reasoning:
                about, begun = reasoning[name]
                task, puzzle = str(about.kind), about.puzzle
                solution = about.solution(begun.continuation(completion.text))
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
            session.context, ledger, sampler, session.key(number, "selfplay attempts"), fitting,
            self.training.attempts, record, lambda records: session.judged(records, self.attempting.limits),
        )  # fmt: skip
        return list(ledger), {name: sampler.document(text) for name, text in fitting}

    def _fits(self, sampler: Sampler, text: str) -> bool:
        return fits_row(sampler, text, self.training.length, self._sampling.max_new_tokens)

    def _ledger(self, number: int, name: str, schema: Schema, shards: int | None = None) -> Ledger:
        folder = files.join(batch_folder(self.session.output, number), name)
        return self.session.context.ledger(folder, name, schema, shards)

    @property
    def _key(self) -> tuple[int, int]:
        return self.session.seed, self.session.iteration


def _totals(output: str, batches: int, reward: ProposerReward) -> dict[str, Any]:
    """Totals over all batches, counted from disk, because an interrupted run may have made some."""
    made = [account(output, number) for number in range(batches)]
    tasks = dict.fromkeys(TASKS[1:], TaskCount())
    for batch in made:
        for task, count in batch.tasks.items():
            name = task if task in tasks else "puzzle"  # a proposed puzzle counts like any other
            tasks[name] += count
    whole = sum(tasks.values(), TaskCount())
    reasons = sum((Counter(batch.reasons) for batch in made), Counter[str]())
    proposals = [proposed for batch in made for proposed in batch.proposed]
    mean = sum(map(reward.of, proposals)) / len(proposals) if proposals else 0.0
    return {
        **dataclasses.asdict(whole),
        "pairs": whole.attempts + reasons.total(),  # other stages call training examples pairs
        "tasks": {task: dataclasses.asdict(count) for task, count in tasks.items()},
        "proposals": {
            "asked": reasons.total(),
            "valid": reasons[""] + reasons[KNOWN],
            "new": reasons[""],
            "reward": round(mean, 6),
            "shares": reward.shares(proposals),
        },
    }
