"""Stage 6 with adapters: only they are trained and checkpointed, but the result is a whole model.

OUTPUT/adapters/<step>       the last checkpoints of training: adapters and optimizer state
OUTPUT/adapter/              the trained adapters, in PEFT's format
OUTPUT/<step>                base and adapters merged: sampled, evaluated and exported like any other model
"""

import jax

from t5x_selfprog import hosts
from t5x_selfprog.model import low_rank, network, peft, store
from t5x_selfprog.stages.context import Context
from t5x_selfprog.training.batches import BatchSource
from t5x_selfprog.training.learning import AdaptersAlone
from t5x_selfprog.training.lora import Lora
from t5x_selfprog.training.task import TrainingTask
from t5x_selfprog.training.train_loop import LoopConfig, train
from verifier.storage import files

TRAINING, PEFT = "adapters", "adapter"


def learn(
    context: Context,
    start: str,
    lora: Lora,
    loop: LoopConfig,
    source: BatchSource,
    num_steps: int,
    output: str,
    label: str,
) -> network.Params:
    """Trains adapters of the model at `start`, writes them for PEFT, and returns the merged weights. Collective."""
    model = context.model(start)
    config, partitioner = model.config, context.partitioner
    frozen = lora.frozen(config, model.params, partitioner)
    if lora.base_dtype != "float32":
        del model
        context.release()
    seed = context.experiment.seed
    state = train(
        loop, config, lambda: lora.init(config, seed), TrainingTask(source, num_steps, AdaptersAlone(lora, frozen)),
        files.join(output, TRAINING), partitioner, label=label,
    )  # fmt: skip
    assert state is not None  # no time limit was given
    del frozen
    model = context.model(start)
    write(model, lora, state.params, output)
    return lora.merging(config, partitioner).jitted(model.params, state.params)


def write(model: store.LoadedModel, lora: Lora, trained: low_rank.Adapters, output: str) -> None:
    """Writes OUTPUT/adapter: the adapters trained on `model`, in PEFT's format. Collective."""
    whole = jax.tree.map(hosts.whole, trained)
    if hosts.is_first():
        peft.write(
            files.join(output, PEFT), peft.family_of(model.path, model.config), model.config, whole, rank=lora.rank,
            alpha=lora.alpha, base=model.path, base_identity=model.identity,
        )  # fmt: skip
