"""The table of all families, and the lookup of the one that a model belongs to."""

from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.families.family import Family, Json
from t5x_selfprog.model.families.gpt_neo import GPT_NEO
from t5x_selfprog.model.families.gpt_neox import GPT_NEOX
from t5x_selfprog.model.families.gptj import CODEGEN, GPTJ
from t5x_selfprog.model.families.json_types import check_types
from t5x_selfprog.model.families.llama import GEMMA, LLAMA, QWEN2, QWEN3, STARCODER2
from verifier.errors import UserError

# Where a configuration fits several families, export uses the first.
FAMILIES = (LLAMA, QWEN2, QWEN3, STARCODER2, GEMMA, GPT_NEO, GPTJ, CODEGEN, GPT_NEOX)


def of_published(published: Json, where: str) -> Family:
    """The family a config.json belongs to. Raises UserError listing those supported, where it is none of them."""
    check_types(published, where)
    kind = published.get("model_type")
    for family in FAMILIES:
        if family.model_type == kind:
            return family
    architecture = ", ".join(published.get("architectures") or ["not stated"])
    known = ", ".join(f"{family.model_type} ({family.architecture})" for family in FAMILIES)
    raise UserError(
        f"{where}: model_type {kind!r} (architecture {architecture}) is not supported; there are: {known}"
    )


def of_config(config: ModelConfig) -> Family:
    """The first family that can express a configuration. Raises UserError where none can."""
    for family in FAMILIES:
        if family.fits(config):
            return family
    raise UserError(
        f"No published family has this combination of styles, so there is no format to export to: {config}. "
        "A Llama-type model (rms, swiglu, rotary, serial, no biases) always has one."
    )
