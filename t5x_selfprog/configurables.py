"""Registers library dataclasses with gin, so that the library itself does not depend on gin.

Stage `run` functions register themselves; the dataclasses passed to them are registered here, so that
`--gin.OptimizerConfig.learning_rate=1e-5` works in every gin file.
"""

import gin
from t5x_selfprog.budget import Budget
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import MeshConfig
from t5x_selfprog.puzzles.archive import Archive
from t5x_selfprog.puzzles.behaviour import BehaviourCheck
from t5x_selfprog.puzzles.prompts import SolvePrompt
from t5x_selfprog.puzzles.proposing import ProposerReward
from t5x_selfprog.puzzles.rules import PuzzleRules
from t5x_selfprog.puzzles.signatures import AskedSignature
from t5x_selfprog.sampling.sampler import SamplingConfig
from t5x_selfprog.schedule import Schedule
from t5x_selfprog.stages.attempts import Allocation
from t5x_selfprog.stages.build_dataset import Selection
from t5x_selfprog.stages.hindsight import Hindsight
from t5x_selfprog.stages.policy_settings import Attempting, Mix, PolicyTraining, Proposing
from t5x_selfprog.telemetry.capture import Profile
from t5x_selfprog.telemetry.watchdog import Watchdog
from t5x_selfprog.telemetry.weights_and_biases import Wandb
from t5x_selfprog.training.fit import Fit
from t5x_selfprog.training.lora import Lora
from t5x_selfprog.training.optimizers import OptimizerConfig
from t5x_selfprog.training.policy_gradient import PolicyGradient
from t5x_selfprog.training.train_loop import LoopConfig
from verifier import Limits, Tiers

for dataclass in (
    ModelConfig,
    MeshConfig,
    SamplingConfig,
    OptimizerConfig,
    LoopConfig,
    Fit,
    Lora,
    PolicyGradient,
    ProposerReward,
    Attempting,
    Proposing,
    PolicyTraining,
    Mix,
    PuzzleRules,
    Archive,
    BehaviourCheck,
    SolvePrompt,
    AskedSignature,
    Selection,
    Hindsight,
    Schedule,
    Allocation,
    Limits,
    Tiers,
    Watchdog,
    Profile,
    Wandb,
    Budget,
):
    gin.external_configurable(dataclass, module="t5x_selfprog")
