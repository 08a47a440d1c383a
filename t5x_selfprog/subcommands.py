"""The subcommands of `selfprog`: a table. A new one is an entry here and a function in stages/commands.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from t5x_selfprog.flag_types import COUNT, GAIN, NOT_NEGATIVE, PORTION, WHOLE

# All stages are imported with the loop, so that one gin file serves every subcommand of a run.
_LOOP = "t5x_selfprog.loop"
_COMMANDS = "t5x_selfprog.stages.commands"
_CHECK_RUN = "t5x_selfprog.preflight:check_run"
_MODELS = "t5x_selfprog.model.commands"


@dataclass(frozen=True)
class Option:
    """A flag or positional argument of one subcommand, in the form of argparse's add_argument."""

    flag: str
    help: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """One subcommand.

    Attributes:
        help: one line, for the list of subcommands.
        about: what it reads and writes, for its own --help.
        examples: command lines without the leading `selfprog`.
        target: `module:function`, imported when called. It gets the parsed arguments; `run` its `run_dir`.
        run_dir: "writes" checks and saves the configuration there, "reads" only needs the directory.
        local: the run directory must be a folder of this machine, not in a bucket.
        configured_by: the module that declares its configurables; empty for commands without gin.
        check: `module:function`, called with the parsed arguments once gin is parsed and before anything is made.
    """

    name: str
    help: str
    about: str
    examples: tuple[str, ...]
    target: str
    run_dir: Literal["writes", "reads", "unused"] = "writes"
    configured_by: str = _LOOP
    options: tuple[Option, ...] = ()
    local: bool = False
    check: str = ""


_ITERATION = Option(
    "--iteration",
    "which iteration (default: the first in which this stage is not complete)",
    {"type": WHOLE, "metavar": "N"},
)

# Of commands that make one model from another.
_TAKEN = Option(
    "--model",
    "a model's folder, a run (its newest checkpoint is taken), a run's 6_checkpoints, or the name of a shipped model",
    {"required": True, "metavar": "M"},
)
_WRITTEN = Option("--output", "the new model's folder", {"required": True, "metavar": "DIR"})
_ROUNDED = Option("--dtype", "round weights to float32, bfloat16 or float16 (default: keep their type)")

_PUSH = Option(
    "--push",
    "then send the folder to this repository on the Hugging Face Hub (a new one is private)",
    {"metavar": "ORG/NAME", "default": ""},
)

_INT = {"type": COUNT, "metavar": "N"}
_FLOATS = ("float32", "bfloat16")
_BENCH = (
    Option("job", "what to measure", {"choices": ("sample", "train", "attention", "rows", "loop")}),
    Option(
        "--size",
        "shape, with random weights: tiny, 11m, 125m, 0p5b, 1p3b, 2p7b (%(default)s)",
        {"default": "125m"},
    ),
    Option(
        "--model",
        "use this model's shape instead: a folder, or the name of a shipped model",
        {"metavar": "M"},
    ),
    Option("--dtype", "float32 or bfloat16 (%(default)s)", {"choices": _FLOATS, "default": "float32"}),
    Option(
        "--batch", "rows decoded together (all attempts; loop: the run's setting), or rows per step (4)", _INT
    ),
    Option("--prompt", "sample: tokens per prompt (%(default)s)", {**_INT, "default": 512}),
    Option("--new", "sample: tokens per attempt (%(default)s)", {**_INT, "default": 64}),
    Option("--attempts", "sample: attempts at each prompt (%(default)s)", {**_INT, "default": 64}),
    Option(
        "--prompts",
        "sample, loop: number of distinct prompts (%(default)s; loop: the run's setting)",
        {**_INT, "default": 1},
    ),
    Option(
        "--config",
        "loop: a file of gin/runs, or a path that ends in .gin; one iteration of it is run (%(default)s)",
        {"default": "quickstart"},
    ),
    Option(
        "--weights_dtype", "sample: type of weights, also int8 (as --dtype)", {"choices": (*_FLOATS, "int8")}
    ),
    Option(
        "--cache_dtype",
        "sample: type of keys and values, also int8 (as --dtype)",
        {"choices": (*_FLOATS, "int8")},
    ),
    Option(
        "--row_attention",
        "sample: attention of a decoding step, plain or triton (%(default)s)",
        {"default": "plain"},
    ),
    Option(
        "--chunk_steps",
        "sample: decoding steps between checks by the host (%(default)s)",
        {**_INT, "default": 16},
    ),
    Option(
        "--repeat",
        "sample: timed runs, of which the median is reported (%(default)s)",
        {**_INT, "default": 1},
    ),
    Option(
        "--profile",
        "run once more under JAX's profiler; the trace goes here, a table of operations into the result",
        {"metavar": "DIR", "default": ""},
    ),
    Option("--seq", "train: tokens per row (%(default)s)", {**_INT, "default": 512}),
    Option("--steps", "train: timed steps (%(default)s)", {**_INT, "default": 4}),
    Option(
        "--unroll",
        "train: layers a step of the loop over depth, -1 for all (%(default)s)",
        {"type": int, "metavar": "N", "default": -1},
    ),
    Option("--remat", "train: none, dots or full (%(default)s)", {"default": "none"}),
    Option("--attention", "train, attention: plain, splash or cudnn (%(default)s)", {"default": "plain"}),
    Option(
        "--loss_chunk",
        "train: positions whose logits exist at a time (%(default)s)",
        {**_INT, "default": 512},
    ),
)

_POWER = (
    Option("--gain", "of Pass@k, as a share: 0.03 is three points", {"type": GAIN, "required": True}),
    Option("--k", "of the Pass@k compared (%(default)s)", {**_INT, "default": 10}),
    Option("--problems", "held-out problems (%(default)s)", {**_INT, "default": 228}),
    Option("--attempts", "a problem (%(default)s)", {**_INT, "default": 100}),
    Option("--seeds", "training seeds (%(default)s)", {**_INT, "default": 3}),
    Option("--arms", "compared with the base, for the correction (%(default)s)", {**_INT, "default": 4}),
    Option("--base", "Pass@k of the base without a pilot (%(default)s)", {"type": PORTION, "default": 0.1}),
    Option(
        "--per_problem",
        "how unevenly an arm gains, in log odds (%(default)s)",
        {"type": NOT_NEGATIVE, "default": 2.0},
    ),
    Option(
        "--per_seed", "how much training seeds differ (%(default)s)", {"type": NOT_NEGATIVE, "default": 0.1}
    ),
    Option("--pilot", "evaluation.json of the base", {"metavar": "F", "default": ""}),
    Option("--find", "the smallest of these that gives 80%%", {"choices": ("problems", "attempts", "seeds")}),
    Option("--trials", "simulated experiments (%(default)s)", {**_INT, "default": 200}),
)

COMMANDS = (
    Command(
        "run",
        "the whole loop: every iteration, every stage, then the report",
        "Runs every stage of each iteration that is not complete yet: sample puzzles, filter them, sample solutions, "
        "judge them, build the dataset, fine-tune, evaluate. Interrupted or killed, the same command resumes "
        "where it stopped.",
        (
            "run --gin_file=quickstart --run_dir=runs/quickstart",
            "run --gin_file=quickstart --run_dir=runs/hot --gin.puzzles/SamplingConfig.temperature=1.1",
            "run --run_dir=runs/quickstart                # again, with the configuration saved there",
            "run --run_dir=runs/quickstart --gin_file=quickstart --gin.loop.run.iterations=4      # it grows",
            "run --from=runs/quickstart --run_dir=runs/short --gin.finetune.run.epochs=1        # shares what is equal",
            "run --gin_file=quickstart --run_dir=runs/quickstart --dry_run      # everything checked, nothing made",
        ),
        f"{_LOOP}:run",
        check=_CHECK_RUN,
        options=(
            Option(
                "--from",
                "begin as a fork of this run: its configuration unless --gin_file says another, and what is equal is "
                "not made again",
                {"metavar": "RUN", "dest": "begun_from"},
            ),
            Option(
                "--dry_run",
                "check everything and say what would be done, make nothing",
                {"action": "store_true"},
            ),
        ),
    ),
    Command(
        "generate",
        "stages 1 and 2: sample puzzles from the model and filter them",
        "Writes RUN/iter_NNN/1_puzzles, and what the filter keeps to 2_kept.",
        ("generate --run_dir=runs/quickstart", "generate --run_dir=runs/quickstart --iteration=1"),
        f"{_COMMANDS}:generate",
        check=_CHECK_RUN,
        options=(_ITERATION,),
    ),
    Command(
        "solve",
        "stage 3: sample solutions for the puzzles that were kept",
        "Reads RUN/iter_NNN/2_kept, writes 3_solutions.",
        ("solve --run_dir=runs/quickstart",),
        f"{_COMMANDS}:solve",
        check=_CHECK_RUN,
        options=(_ITERATION,),
    ),
    Command(
        "verify",
        "stage 4: judge the solutions in sandboxed interpreters",
        "Reads RUN/iter_NNN/3_solutions, writes 4_verdicts; it may follow `solve` while that still runs. "
        "For files of your own use `python -m verifier judge`.",
        ("verify --run_dir=runs/quickstart",),
        f"{_COMMANDS}:verify",
        check=_CHECK_RUN,
        options=(_ITERATION,),
    ),
    Command(
        "finetune",
        "stages 5 and 6: build the dataset and fine-tune on it",
        "Reads the verdicts of all iterations so far, writes RUN/iter_NNN/5_dataset and 6_checkpoints.",
        ("finetune --run_dir=runs/quickstart",),
        f"{_COMMANDS}:finetune",
        check=_CHECK_RUN,
        options=(_ITERATION,),
    ),
    Command(
        "evaluate",
        "stage 7: Pass@k on held-out puzzles, with intervals",
        "Reads RUN/iter_NNN/6_checkpoints, writes 7_eval/evaluation.json and prints the table. With --suite, programs "
        "are judged by unit tests that others measure by, to RUN/suites: the base's and the newest model's.",
        (
            "evaluate --run_dir=runs/quickstart",
            "evaluate --run_dir=runs/quickstart --json | tail -1",
            "evaluate --run_dir=runs/claim --suite=mbpp_plus            # greedy, with samples.jsonl for evalplus",
            "evaluate --run_dir=runs/claim --suite=tasks.jsonl --attempts=20 --temperature=0.8",
        ),
        f"{_COMMANDS}:evaluate",
        check=_CHECK_RUN,
        options=(
            _ITERATION,
            Option(
                "--model",
                "measure this model instead: a folder, or the name of a shipped model",
                {"metavar": "M"},
            ),
            Option(
                "--suite",
                "humaneval_plus, mbpp_plus, or a file of their form: JSON lines, see `python -m verifier tests --help`",
                {"metavar": "S"},
            ),
            Option("--attempts", "with --suite: at each task (1)", _INT),
            Option(
                "--temperature",
                "with --suite: 0 takes the likeliest tokens (0 for one attempt, else 0.8)",
                {"type": float, "metavar": "T"},
            ),
        ),
    ),
    Command(
        "pack",
        "pack what a run needs to continue elsewhere into one small file",
        "Packs records, verdicts, pairs and evaluations of a finished or unfinished run. Leaves out weights that "
        "training can recreate from the pairs (Experiment.start = 'base'), and attempts that their verdicts repeat.",
        (
            "pack --run_dir=runs/claim --output=claim.pack",
            "pack --run_dir=runs/claim --output=claim.pack --piece_mb=15     # claim.pack.00, claim.pack.01, ...",
        ),
        "t5x_selfprog.moving.pack:command",
        run_dir="reads",
        configured_by="",
        options=(
            Option("--output", "the file to write", {"required": True, "metavar": "FILE"}),
            Option("--piece_mb", "cut it into pieces of so many MB", _INT),
        ),
        local=True,
    ),
    Command(
        "unpack",
        "restore a packed run, ready to continue",
        "Checks the pack and restores it to DIR; `selfprog run --run_dir=DIR` continues it. On a machine of the same "
        "kind, the result has the same bytes as a run that never moved.",
        (
            "unpack claim.pack --run_dir=runs/claim",
            "unpack claim.pack.* --run_dir=runs/claim --go_on --base=models/smollm2",
        ),
        "t5x_selfprog.moving.unpack:command",
        run_dir="reads",
        configured_by="",
        options=(
            Option("files", "the pack, or all its pieces", {"nargs": "+", "metavar": "FILE"}),
            Option(
                "--go_on",
                "set the end of the run aside (arms, table; kept under earlier/), so that iterations can be added",
                {"action": "store_true"},
            ),
            Option("--base", "check that this model is the one it was made from", {"metavar": "DIR"}),
        ),
        local=True,
    ),
    Command(
        "pretrain",
        "train a small base model and its tokenizer on Python source",
        "Needs a corpus folder; resumable. The base model in the package was made by this command.",
        ("pretrain --gin_file=pretrain_base --run_dir=runs/base",),
        f"{_COMMANDS}:pretrain",
        check="t5x_selfprog.preflight:check_pretraining",
        configured_by="t5x_selfprog.stages.pretrain",
        local=True,
    ),
    Command(
        "p3",
        "read or fetch the Python Programming Puzzles and count them",
        "Checks puzzles.json and split.json in a folder, entry by entry, judges the reference solutions, and counts "
        "each split. An entry needs `name`, `sat` and `sol_bodies`; puzzles.jsonl has one a line.",
        (
            "p3 --new=my_puzzles",
            "p3 --source=my_puzzles",
            "p3 --source=data/p3 --download",
            "p3 --source=seeds",
        ),
        f"{_COMMANDS}:p3",
        run_dir="unused",
        configured_by="",
        options=(
            Option(
                "--source",
                "has puzzles.json (or puzzles.jsonl) and split.json",
                {"metavar": "DIR", "default": ""},
            ),
            Option(
                "--new", "write a template of your own set there, and stop", {"metavar": "DIR", "default": ""}
            ),
            Option("--download", "fetch them into that folder first", {"action": "store_true"}),
            Option("--output", "write them as puzzle records, a folder for each split", {"metavar": "DIR"}),
        ),
    ),
    Command(
        "import",
        "make a published model (Hugging Face format, or GGUF) one of ours",
        "Reads config.json, the tokenizer and safetensors or pytorch_model.bin of a GPT-Neo, GPT-J, CodeGen, "
        "GPT-NeoX, Llama, Qwen 2 or 3, StarCoder2 or Gemma model, or a GGUF file of most of these "
        "(pip install '.[gguf]'); one tensor at a time, so memory does not depend on the model's size. "
        "What it writes can be Experiment.base.",
        (
            "import --model=downloads/gpt-neo-125m --output=models/gpt_neo_125m",
            "import --model=Qwen/Qwen2.5-Coder-0.5B --output=models/qwen_0p5b      # where there is a network",
            "import --model=smollm2-135m-instruct --output=models/smollm2-135m-instruct     # see `selfprog models`",
            "import --model=smollm2-135m-instruct.gguf --output=models/smollm2     # quantised weights, undone",
            "import --model part01.bin part02.bin part03.bin --output=models/qwen  # one GGUF file in pieces",
        ),
        f"{_MODELS}:import_model",
        run_dir="unused",
        configured_by="",
        options=(
            Option(
                "--model",
                "a folder, a name (`selfprog models`, or owner/model[@revision] on the Hugging Face Hub), or a GGUF "
                "file (or its pieces, which are joined by their numbers)",
                {"required": True, "metavar": "M", "nargs": "+"},
            ),
            _WRITTEN,
            Option(
                "--dtype",
                "round weights to float32, bfloat16 or float16 (default: as published; quantised ones bfloat16)",
            ),
            Option("--sha256", "what the GGUF file must have", {"metavar": "HEX"}),
        ),
    ),
    Command(
        "merge",
        "add PEFT's adapters (LoRA) to the weights of a model",
        "Reads adapter_model.safetensors and adapter_config.json, and writes a new model; what does not fit the base "
        "is refused by name. What fine-tuning with finetune.run.lora learnt is in 6_checkpoints/adapter and loads in "
        "peft; 6_checkpoints itself is merged with its base already.",
        ("merge --model=models/qwen_0p5b --adapters=downloads/adapters --output=models/qwen_0p5b_tuned",),
        "t5x_selfprog.model.merge:command",
        run_dir="unused",
        configured_by="",
        options=(
            _TAKEN,
            Option("--adapters", "a folder that peft saved", {"required": True, "metavar": "DIR"}),
            _WRITTEN,
            _ROUNDED,
        ),
    ),
    Command(
        "models",
        "list published models that have a short name",
        "Lists what `import --model=NAME` fetches: family, weights, context, licence, publisher, and the memory that "
        "weights take.",
        ("models", "models --json | tail -1"),
        f"{_MODELS}:list_models",
        run_dir="unused",
        configured_by="",
    ),
    Command(
        "export",
        "write a model in the Hugging Face format",
        "Writes config.json, the tokenizer and safetensors that `transformers` and vLLM load as they are; of a run's "
        "model, a card (README.md) too.",
        (
            "export --model=base --output=exported/base                     # the shipped model",
            "export --model=runs/quickstart --output=exported/tuned --dtype=bfloat16          # its newest model",
            "export --model=runs/quickstart --output=exported/tuned --push=me/tuned          # to the Hub, with a card",
            "export --model=runs/quickstart/iter_000/6_checkpoints --output=exported/first",
        ),
        f"{_MODELS}:export_model",
        run_dir="unused",
        configured_by="",
        options=(
            _TAKEN,
            _WRITTEN,
            _ROUNDED,
            _PUSH,
        ),
    ),
    Command(
        "report",
        "write RUN/report/index.html from what a run measured so far",
        "Reads evaluation.json and funnel.json of every iteration; changes nothing else. Of a folder of runs it writes "
        "DIR/index.html, a line for each of them.",
        (
            "report --run_dir=runs/quickstart",
            "report --run_dir=runs                 # all that are in it, beside one another",
            "report --run_dir=runs/hot --against=runs/quickstart",
        ),
        f"{_COMMANDS}:report",
        run_dir="reads",
        configured_by="",
        options=(
            Option("--against", "also a page with this run beside it", {"metavar": "DIR", "default": ""}),
        ),
    ),
    Command(
        "study",
        "a grid of runs: tables, transfer matrix, scaling fits, a page",
        "Runs every combination of the axes in a study's gin file that is not finished yet, sharing what runs have "
        "in common, then writes DIR/table.csv, table.md, fits.json and report/index.html. The same command resumes.",
        (
            "study --gin_file=studies/quick --run_dir=studies/quick",
            "study --gin_file=studies/quick --run_dir=studies/quick --list  # a command for each machine",
        ),
        "t5x_selfprog.study.launch:command",
        run_dir="reads",
        configured_by="t5x_selfprog.study.launch",
        local=True,
        options=(
            Option("--cell", "run only this one", {"metavar": "NAME", "default": ""}),
            Option("--list", "print the commands of single runs, run nothing", {"action": "store_true"}),
        ),
    ),
    Command(
        "power",
        "how many problems, attempts and seeds it takes to see a gain",
        "Simulates experiments of the given size and judges them as `evaluate` would; with --pilot, problems are as "
        "hard as a base evaluation found them.",
        (
            "power --gain=0.05 --k=10 --problems=228 --attempts=100 --seeds=3",
            "power --gain=0.05 --k=100 --pilot=runs/quickstart/base/7_eval/evaluation.json --find=seeds",
        ),
        "t5x_selfprog.evaluation.power:command",
        run_dir="unused",
        configured_by="",
        options=_POWER,
    ),
    Command(
        "memory",
        "does a base model remember the test puzzles?",
        "Compares the likelihood of test puzzles with that of renamed twins, and the difference with that on our own "
        "seeds, which no published model has seen.",
        ("memory --model=base --problems=data/p3",),
        "t5x_selfprog.stages.memorisation:command",
        run_dir="unused",
        configured_by="",
        options=(
            Option(
                "--model",
                "a model's folder, or the name of a shipped model (%(default)s)",
                {"default": "base"},
            ),
            Option("--problems", "a folder in P3's format", {"required": True, "metavar": "DIR"}),
            Option("--split", "split of the problems (%(default)s)", {"default": "test"}),
            Option("--twins", "twins per puzzle (%(default)s)", {**_INT, "default": 4}),
        ),
    ),
    Command(
        "export-data",
        "a run's verified pairs as JSON lines and Parquet, with a card",
        "Reads 5_dataset, 4_verdicts and 2_kept of every finished iteration; writes train.jsonl, train.parquet and "
        "README.md. For seqio and TFDS see t5x_selfprog/data/tasks.py and tfds_builders.py.",
        (
            "export-data --run_dir=runs/quickstart --output=pairs",
            "export-data --run_dir=runs/quickstart --output=pairs --push=me/puzzles     # to the Hub, with its card",
        ),
        "t5x_selfprog.data.export:command",
        run_dir="reads",
        configured_by="",
        options=(
            Option("--output", "a folder (RUN/export)", {"metavar": "DIR"}),
            Option("--formats", "jsonl, parquet or both (%(default)s)", {"default": "jsonl,parquet"}),
            _PUSH,
        ),
    ),
    Command(
        "plan",
        "does a run fit a TPU slice, how long will it take, what will it cost?",
        "Compiles the train step, prefill and decoding of a run for slices that are not here, with the TPU compiler "
        "(pip install '.[plan]'; no TPU needed), and says what fits, estimated tokens a second, MFU, "
        "chip-hours, dollars, and the verifier's cores. Two to ten minutes a slice, then kept.",
        (
            "plan --gin_file=paper_gpt_neo_2p7b --slice=v5e_64",
            "plan --gin_file=paper_gpt_neo_125m --slice=all --save=plans.json",
            "plan --gin_file=paper_gpt_neo_125m --model=qwen2p5_coder_1p5b --slice=v5e_8,v6e_64",
            "plan --saved=plan.json --against=runs/paper      # what was planned beside what was done",
            "plan --saved=plan.json --simulate --preemptions_per_hour=0.5 --host_cores=4 --fleet=8x30    # what if",
        ),
        "t5x_selfprog.plan.command:command",
        run_dir="unused",
        configured_by=_LOOP,
        options=(
            Option(
                "--slice", "v4_8, v5e_64, ... (gin/slices), several with commas, or all", {"metavar": "S"}
            ),
            Option(
                "--model", "its shape: a folder, or a file of gin/models (Experiment.base)", {"metavar": "M"}
            ),
            Option("--batch", "rows of a training step (finetune.run.batch_size)", _INT),
            Option(
                "--largest_batch",
                "find the most rows that fit: one more compilation",
                {"action": "store_true"},
            ),
            Option(
                "--price", "dollars for a chip-hour (list price)", {"type": NOT_NEGATIVE, "metavar": "USD"}
            ),
            Option(
                "--simulate",
                "the run as events: waiting for verdicts, preemptions, stragglers",
                {"action": "store_true"},
            ),
            Option(
                "--preemptions_per_hour",
                "of the whole slice, to simulate (%(default)s)",
                {"type": NOT_NEGATIVE, "default": 0.0, "metavar": "R"},
            ),
            Option(
                "--fleet",
                "verifiers beside the run, to simulate: machines x cores, as 8x30 (scripts/tpu/fleet)",
                {"metavar": "NxC", "default": ""},
            ),
            Option("--pilot", "a finished run whose yields to assume", {"metavar": "RUN"}),
            Option("--save", "write the plan here, as JSON", {"metavar": "F"}),
            Option(
                "--host_cores",
                "of a host's cores, those that judge, to simulate a shortage (all)",
                _INT,
            ),
            Option("--saved", "a plan of one slice, to be compared, or simulated anew", {"metavar": "F"}),
            Option("--against", "the run to compare it with", {"metavar": "RUN"}),
        ),
    ),
    Command(
        "doctor",
        "what this machine has for a run, and what to install",
        "Shows devices, memory, versions and how well candidate programs are isolated, with a remedy for what is "
        "missing. `python -m verifier doctor` says more of the sandbox.",
        ("doctor", "doctor --json | tail -1"),
        "t5x_selfprog.doctor:command",
        run_dir="unused",
        configured_by="",
    ),
    Command(
        "bench",
        "measure the sampler, the trainer or the whole loop on this machine, or check an attention kernel",
        "Prints tokens per second, their cost, and shares of the roofline where the device is known. "
        "`python -m verifier doctor` checks the verifier.",
        (
            "bench sample --size=125m --prompt=512 --new=64 --attempts=64 --dtype=float32",
            "bench train --size=125m --seq=512 --batch=4 --steps=4 --json | tail -1",
            "bench attention --attention=plain --dtype=bfloat16",
            "bench loop --config=quickstart               # verified pairs per minute, and where the time went",
        ),
        f"{_COMMANDS}:bench",
        run_dir="unused",
        configured_by="",
        options=_BENCH,
    ),
)
