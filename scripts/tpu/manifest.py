#!/usr/bin/env python3
"""Prints scripts/tpu/jobset.yaml for any slice: its node pools, counts, selectors and gin file.

  scripts/tpu/manifest.py --slice=v6e_8 >run.yaml              one host of 8 chips
  scripts/tpu/manifest.py --slice=v6e_8 --hosts=2 >run.yaml    two hosts of 4, which GKE alone has
  scripts/tpu/manifest.py --slice=v5e_64_x2 >run.yaml          two slices: a node pool for each

What is in capitals, and the flags of the run, are left to you.
"""

import argparse
import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if __name__ == "__main__" and Path(sys.prefix) != REPOSITORY / ".venv" and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), __file__, *sys.argv[1:]])
sys.path.insert(0, str(REPOSITORY))

from t5x_selfprog.plan import slices
from verifier.errors import UserError

TEMPLATE = Path(__file__).with_name("jobset.yaml")
# The machines of each generation (their names end in the number of chips), and GKE's label of their nodes.
NODES = {
    "v4": ("ct4p-hightpu", "tpu-v4-podslice"),
    "v5e": ("ct5lp-hightpu", "tpu-v5-lite-podslice"),
    "v5p": ("ct5p-hightpu", "tpu-v5p-slice"),
    "v6e": ("ct6e-standard", "tpu-v6e-slice"),
    "tpu7x": ("tpu7x-standard", "tpu7x"),
}
IN_TWO = ("v5e_8", "v6e_8")  # one machine, or on GKE two


def manifest(name: str, hosts: int = 0) -> str:
    """The JobSet for a slice of gin/slices; of so many hosts where it may have several numbers of them.

    Raises UserError for an unknown slice, or a number of hosts that it cannot have.
    """
    wanted = slices.named(name)
    usual = wanted.hosts // wanted.count
    hosts = hosts or usual
    if hosts not in ((usual, 2) if wanted.name in IN_TWO else (usual,)):
        raise UserError(f"--hosts={hosts}: {wanted.name} has {usual}{', or 2' * (wanted.name in IN_TWO)}.")
    chips = wanted.chips // wanted.chip.halves // wanted.count // hosts
    machine, label = NODES[wanted.generation]
    pools = [wanted.name.replace("_", "-").removesuffix(f"-x{wanted.count}")]
    if wanted.count > 1:
        pools = [f"{pools[0]}-{number}" for number in range(wanted.count)]
    text = TEMPLATE.read_text()
    of_each = f"{hosts} host{'s' * (hosts > 1)} of {chips} chips, {wanted.topology}"
    for old, new in (
        ("v5e_64 (16 hosts of 4 chips, 8x8)", f"{wanted.name} ({of_each}{' each' * (wanted.count > 1)})"),
        (
            _create("v5e-64", "ct5lp-hightpu-4t", "8x8", 16),
            _pools(wanted, pools, f"{machine}-{chips}t", hosts),
        ),
        (_delete("v5e-64"), "".join(map(_delete, pools))),
        ("SLICE=v5e_64 ", f"SLICE={wanted.name} "),
        ("replicas: 1\n", f"replicas: {wanted.count}\n"),
        ("parallelism: 16\n", f"parallelism: {hosts}\n"),
        ("completions: 16\n", f"completions: {hosts}\n"),
        ("gke-tpu-accelerator: tpu-v5-lite-podslice\n", f"gke-tpu-accelerator: {label}\n"),
        ("gke-tpu-topology: 8x8\n", f"gke-tpu-topology: {wanted.topology}\n"),
        ("google.com/tpu: 4\n", f"google.com/tpu: {chips}\n"),
        ("--gin_file=slices/v5e_64\n", f"--gin_file={wanted.gin_file}\n"),
    ):
        if old not in text:
            raise ValueError(f"{TEMPLATE} lacks {old!r}")
        text = text.replace(old, new)
    return text


def _pools(wanted: slices.Slice, pools: list[str], machine: str, hosts: int) -> str:
    """Commands that make the node pools. One machine has no topology to choose; TPU7x's is in a policy of its own."""
    if wanted.generation == "tpu7x" and hosts > 1:
        policy = f"tpu7x-{wanted.topology}"
        made = (
            f"#   gcloud compute resource-policies create workload-policy {policy} --region=REGION \\\n"
            f"#     --type=HIGH_THROUGHPUT --accelerator-topology={wanted.topology}\n"
        )
        return made + "".join(
            _create(pool, machine, "", hosts, f" --placement-policy={policy}") for pool in pools
        )
    return "".join(_create(pool, machine, wanted.topology if hosts > 1 else "", hosts) for pool in pools)


def _create(pool: str, machine: str, topology: str, hosts: int, more: str = "") -> str:
    chosen = f" --tpu-topology={topology}" if topology else ""
    flags = f"#     --machine-type={machine}{chosen} --num-nodes={hosts}{more} --spot"
    return (
        f"#   gcloud container node-pools create {pool} --cluster=CLUSTER --location=ZONE --node-locations=ZONE \\\n"
        f"{flags:<99} (from here on it costs)\n"
    )


def _delete(pool: str) -> str:
    command = f"#   gcloud container node-pools delete {pool} --cluster=CLUSTER --location=ZONE"
    return f"{command:<89} (until then the nodes cost)\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slice", required=True, help="as in gin/slices")
    parser.add_argument("--hosts", type=int, default=0, help="2: v5e_8 or v6e_8 as two hosts of 4 chips")
    options = parser.parse_args()
    try:
        print(manifest(options.slice, options.hosts), end="")
    except UserError as error:
        print(f"tpu: error: {error}", file=sys.stderr)
        return error.EXIT_CODE
    return 0


if __name__ == "__main__":
    sys.exit(main())
