"""A tokenizer that knows conversations: the shipped one with ChatML's tokens and a template beside it."""

import json
from pathlib import Path

import tokenizers

from t5x_selfprog.model import store

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>'"
    " + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def chat_folder(folder: Path, template: str | None = TEMPLATE) -> Path:
    """Writes it; ids 4096 and 4097 are `<|im_start|>` and `<|im_end|>`."""
    source = Path(store.resolve("base"))
    backend = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
    backend.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    folder.mkdir(exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    said = json.loads((source / "tokenizer_config.json").read_text()) | {"eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder
