"""One tiny random model of each published family, as transformers and torch define them.

Shapes are chosen so that nothing matches by accident: grouped heads, head sizes other than D / H, windows shorter than
the texts, two heads in each quarter of CodeGen's. Used by scripts/make/golden_models.py and by the live comparison;
torch is imported only when a model is built.
"""

import shutil
import string
from pathlib import Path
from typing import Any

import tokenizers

GOLDEN = Path(__file__).parent / "golden"
VOCAB = 61
CONTEXT = 64
_GPT = {"vocab_size": VOCAB, "bos_token_id": 0, "eos_token_id": 0}
_MODERN = {
    **_GPT, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": CONTEXT, "pad_token_id": None,
}  # fmt: skip
_GPTJ = {
    **_GPT, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT, "n_ctx": CONTEXT, "rotary_dim": 4,
    "n_inner": 40,
}  # fmt: skip
_NEOX = {
    **_GPT, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
}  # fmt: skip

# name -> (model_type, configuration)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt_neo": (
        "gpt_neo",
        {
            **_GPT, "hidden_size": 24, "num_layers": 4, "num_heads": 4, "intermediate_size": 40, "window_size": 5,
            "attention_types": [[["global", "local"], 2]], "max_position_embeddings": CONTEXT,
        },
    ),
    "gptj": ("gptj", _GPTJ),
    "codegen": ("codegen", {**_GPTJ, "n_head": 8, "rotary_dim": 2}),
    "pythia": ("gpt_neox", _NEOX),
    "gpt_neox_serial": (
        "gpt_neox",
        {**_NEOX, "use_parallel_residual": False, "hidden_act": "gelu_new", "attention_bias": False,
         "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5}},
    ),
    "deepseek_coder": (
        "llama",
        {**_MODERN, "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 100_000.0}},
    ),
    "llama3": (
        "llama",
        {**_MODERN, "head_dim": 8, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True,
         "rope_parameters": {
             "rope_type": "llama3", "rope_theta": 50.0, "factor": 8.0, "low_freq_factor": 1.0,
             "high_freq_factor": 4.0, "original_max_position_embeddings": 16,
         }},
    ),
    "qwen2": (
        "qwen2",
        {**_MODERN, "tie_word_embeddings": True, "num_hidden_layers": 3, "use_sliding_window": True,
         "sliding_window": 6, "max_window_layers": 1},
    ),
    "qwen3": ("qwen3", {**_MODERN, "head_dim": 10}),
    "starcoder2": ("starcoder2", {**_MODERN, "sliding_window": 7}),
    "gemma": ("gemma", {**_MODERN, "head_dim": 8, "num_key_value_heads": 1}),
}  # fmt: skip


def build(case: str, seed: int, dtype: str = "float32") -> Any:
    """A torch model in which every weight matters: drawn with a large spread, rounded to `dtype`, kept in float32."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    model_type, changes = CASES[case]
    config = AutoConfig.for_model(model_type, **changes)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            drawn = torch.randn(weight.shape, generator=generator) * (0.3 if weight.ndim > 1 else 0.2)
            is_scale = weight.ndim == 1 and name.endswith("weight") and model_type != "gemma"
            weight.copy_((drawn + float(is_scale)).to(getattr(torch, dtype)))
    return model


def write_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer with as many tokens as the models: end of text (0) and 60 characters."""
    characters = (string.ascii_letters + string.digits)[: VOCAB - 1]
    vocabulary = {"<|endoftext|>": 0, **{c: i + 1 for i, c in enumerate(characters)}}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>"])
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}\n'
    )


def copy_golden(case: str, folder: Path) -> Path:
    """A golden model as a published model's folder: configuration, weights, tokenizer."""
    folder.mkdir(parents=True)
    for path in (GOLDEN / case).iterdir():
        if path.name != "golden.safetensors":
            shutil.copyfile(path, folder / path.name)
    write_tokenizer(folder)
    return folder
