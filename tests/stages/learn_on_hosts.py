"""One of several processes that learn from verdicts together: `python learn_on_hosts.py LEARNER ROOT BASE HOSTS`.

Four devices in all; the judge and the proposals are those of the stages' own tests.
"""

import sys

import jax

from t5x_selfprog import hosts


def main(learner: str, root: str, base: str, spec: str) -> None:
    hosts.connect(spec)
    from t5x_selfprog.partitioning import MeshConfig, Partitioner
    from t5x_selfprog.stages import selfplay
    from t5x_selfprog.stages.context import Context
    from tests.stages import test_grpo, test_selfplay

    Context.partitioner = property(lambda _: partitioner)  # type: ignore[assignment, method-assign]
    partitioner = Partitioner(MeshConfig(2, 2, 1).make(jax.devices()))
    selfplay.puzzle_from_completion = test_selfplay.proposal
    few = {"batches": 2, "updates": 1}
    with jax.numpy_dtype_promotion("standard"):
        if learner == "grpo":
            test_grpo.learn(root, base, **few)
        else:
            test_selfplay.play(root, base, **few)
    hosts.leave(0)  # as commands do


if __name__ == "__main__":
    main(*sys.argv[1:])
