"""`selfprog bench train`: times optimizer steps on packed rows of random tokens."""

import argparse
import dataclasses
import time
from typing import Any

import jax
import numpy as np

from t5x_selfprog import hosts, machine, profile
from t5x_selfprog.model import network
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.sampling.bench import SHOWN, shape
from t5x_selfprog.training.batches import Batch, filled
from t5x_selfprog.training.flops import train_flops_per_token
from t5x_selfprog.training.loop_config import LoopConfig
from t5x_selfprog.training.optimizers import OptimizerConfig
from t5x_selfprog.training.training_programs import TrainingPrograms


def command(args: argparse.Namespace) -> dict[str, Any]:
    """Times `args.steps` AdamW steps of `args.batch` x `args.seq` tokens; compilation is timed separately."""
    config = dataclasses.replace(shape(args), context_length=args.seq, dtype=args.dtype)
    batch_size = args.batch or 4
    partitioner = Partitioner(MeshConfig().make())
    loop = LoopConfig(
        OptimizerConfig("adamw", 5e-6),
        loss_chunk=args.loss_chunk,
        unroll=args.unroll,
        remat=args.remat,
        attention=args.attention,
    )
    programs = TrainingPrograms(loop, config, partitioner, args.steps)
    state = programs.fresh().jitted(jax.random.key(0))
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, config.vocab_size, (batch_size, args.seq), dtype=np.int32)
    positions = np.broadcast_to(np.arange(args.seq, dtype=np.int32), tokens.shape)
    ones = np.ones_like(tokens)
    batch = Batch(tokens, np.roll(tokens, -1, 1), positions, ones, ones.astype(np.float32))
    rows = filled(batch, partitioner.batch_ways)
    batch = hosts.place(rows, jax.tree.map(lambda _: programs.by_rows, rows))
    begun = time.perf_counter()
    compiled = programs.step().of(state, batch, ()).compile()
    compile_s = time.perf_counter() - begun
    state, _ = jax.block_until_ready(compiled(state, batch, ()))
    begun = time.perf_counter()
    for _ in range(args.steps):
        state, metrics = compiled(state, batch, ())
    jax.block_until_ready(metrics)
    seconds = time.perf_counter() - begun
    if args.profile:
        with profile.capture(args.profile):
            jax.block_until_ready(compiled(state, batch, ()))
    count = args.steps * batch_size * args.seq
    flops_per_s = count / seconds * train_flops_per_token(config, args.seq)
    peak = machine.peak()
    held = compiled.memory_analysis()
    result = {
        "job": "train",
        "size": args.size,
        "model": args.model,
        "dtype": args.dtype,
        "remat": args.remat,
        "attention": args.attention,
        "loss_chunk": args.loss_chunk,
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "parameters": network.num_params(config),
        "batch": batch_size,
        "seq": args.seq,
        "steps": args.steps,
        "seconds": seconds,
        "compile_s": compile_s,
        "tokens": count,
        "tokens_per_s": count / seconds,
        "model_flops_per_s": flops_per_s,
        "mfu": None if peak is None else flops_per_s / jax.device_count() / peak.flops_per_s,
        "state_gb": held and held.argument_size_in_bytes / 2**30,
        "workspace_gb": held and held.temp_size_in_bytes / 2**30,
        **machine.memory(),
        **({"profile": profile.by_operation(args.profile)[:SHOWN]} if args.profile else {}),
    }
    return result
