"""Converts text to token ids and back by BPE over bytes, with our own tokenizers and those of Hugging Face.

There are two kinds: byte-level (GPT-2's, ours, most code models') and byte fallback (SentencePiece's: Code Llama,
Gemma). In both, a token stands for a string of bytes, and the bytes of a text's tokens are those of the text.

A directory with `tokenizer.json` is read with the `tokenizers` library alone; older ones (vocab.json and merges.txt) go
through transformers' AutoTokenizer, which is imported only then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from verifier.errors import UserError
from verifier.storage.shards import atomic_write

# They enclose the name of a special token in a text that means the token (`control`). Lone surrogates cannot occur in
# UTF-8, so neither a puzzle nor a model's text can contain these.
OPEN, CLOSE = "\udcfe", "\udcff"
_CONTROL = re.compile(f"{OPEN}([^{OPEN}{CLOSE}]*){CLOSE}")

PAD = "<|pad|>"  # id 0: padding, never part of a text
END_OF_TEXT = "<|endoftext|>"  # id 1: between documents

# End-of-document tokens of pretraining in various families. A model tuned for conversations still has one of them among
# its special tokens, but calls the end of a turn (`<|im_end|>`) its end of text.
ENDS_OF_DOCUMENTS = (END_OF_TEXT, "<|end_of_text|>", "<eos>", "</s>")

# Alternatives in order. A run of newlines takes only the indentation after it, so a token boundary shows whether the
# next line is indented. Digits are single tokens, with at most a space before them. A space or dot, and underscores,
# join the word after them.
PRE_TOKENS = "|".join(
    [
        r"\n+ *",
        r" ?\p{N}",
        r"[ .]?_*\p{L}+",
        r" ?[^\s\p{L}\p{N}_]+",
        r" ?_+",
        r" +(?= \S)",
        r" +",
        r"[^\S\n ]+",
    ]
)


def control(name: str) -> str:
    """The special token of this name, in a text for `Tokenizer.encode`."""
    return f"{OPEN}{name}{CLOSE}"


class Tokenizer:
    """A loaded tokenizer. `encode` treats the names of special tokens as plain text, except those marked by `control`.

    Attributes:
      vocab_size: one more than the largest id.
      holes: smaller ids that no token has; a model's rows for them are meaningless.
      eos_id: the token that ends a document in training.
      end_ids: the tokens that end a completion: `eos_id`, and the end of a turn if that is another token.
      start_id: the token before every document in training, and so before every prompt: the one that the tokenizer
        itself adds (Llama's and Gemma's `<s>`, `<bos>`), otherwise the previous document's end of text.
      chat_template: the Jinja template of conversations that came with the model; None if there is none.
      names: its special tokens by their role: bos_token, eos_token, pad_token.
      controls: the names of the tokens that were added to the vocabulary.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        eos_id: int,
        pad_id: int,
        spell: Callable[[str], bytes],
        start_id: int | None = None,
        end_ids: Iterable[int] = (),
        chat_template: str | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """spell: maps a token, as the backend names it, to the bytes it stands for."""
        self.chat_template, self.names = chat_template, dict(names or {})
        backend.encode_special_tokens = True
        self._backend, self._spell = backend, spell
        self._special = {i for i, token in backend.get_added_tokens_decoder().items() if token.special}
        self.start_id = eos_id if start_id is None else start_id
        self.end_ids = tuple(sorted({eos_id, *end_ids}))
        self._special |= {pad_id, self.start_id, *self.end_ids}
        self._added = {i: token.content for i, token in backend.get_added_tokens_decoder().items()}
        self.controls = tuple(self._added[i] for i in sorted(self._added))
        self.eos_id = eos_id
        self.pad_id = pad_id
        used = set(backend.get_vocab(with_added_tokens=True).values())
        self.vocab_size: int = max(used) + 1
        self.holes = tuple(sorted(set(range(self.vocab_size)) - used))

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Loads a tokenizer directory, or a tokenizer.json.

        Raises:
          UserError: there is no tokenizer, it is not BPE over bytes, or it has no end-of-text token.
        """
        path = Path(path)
        directory = path if path.is_dir() else path.parent
        file = path / "tokenizer.json" if path.is_dir() else path
        if file.is_file():
            try:
                backend = _with_its_ids(tokenizers.Tokenizer.from_file(str(file)), file)
            except Exception as error:  # the library raises a bare Exception
                raise UserError(
                    f"{file}: not a tokenizer.json ({error}); copy it again from its model"
                ) from error
            names = _special_names(directory)
        elif (directory / "vocab.json").is_file() and path.is_dir():
            backend, names = _through_transformers(directory)
        else:
            raise UserError(
                f"{path}: no tokenizer here (looked for tokenizer.json); point to a model directory, or make "
                "one with `scripts/make/pretraining_corpus.py --output DIR --tokenizer=new`, in DIR/tokenizer"
            )
        _require_own_ids(backend, directory)
        backend, spell = _over_bytes(backend, file)
        eos_id = backend.token_to_id(names.get("eos_token") or END_OF_TEXT)
        if eos_id is None:
            raise UserError(
                f"{directory}: no end-of-text token; name it as eos_token in tokenizer_config.json"
            )
        ends = {eos_id, *_ends_said(directory, backend)}
        eos_id = _end_of_documents(backend, eos_id)
        pad_id = backend.token_to_id(names["pad_token"]) if names.get("pad_token") else None
        # GPT-2 and its relatives have no padding token; end of text serves, since padded positions are masked anyway.
        pad_id = eos_id if pad_id is None else pad_id
        special = {name: token for name, token in names.items() if name.endswith("_token")}
        template = _chat_template(directory)
        return cls(backend, eos_id, pad_id, spell, _start_id(backend, names), ends, template, special)

    def encode(self, text: str) -> list[int]:
        """Ids of a text; the only special tokens are those marked by `control`. Other lone surrogates become U+FFFD."""
        if OPEN not in text:
            return self._backend.encode(_encodable(text), add_special_tokens=False).ids
        ids: list[int] = []
        for place, part in enumerate(_CONTROL.split(text)):
            token = self._backend.token_to_id(part) if place % 2 and part in self.controls else None
            plain = self._backend.encode(_encodable(part), add_special_tokens=False).ids
            ids += plain if token is None else [token]
        return ids

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """`encode` of many texts, on several threads."""
        batch = [_encodable(text) for text in texts]
        return [e.ids for e in self._backend.encode_batch_fast(batch, add_special_tokens=False)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, without special tokens; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(self.token_bytes(int(i)) for i in ids if int(i) not in self._special).decode(
            "utf-8", errors="replace"
        )

    @cache  # noqa: B019  one small table per tokenizer, and tokenizers live as long as the process
    def token_bytes(self, token_id: int) -> bytes:
        """The exact bytes that a token stands for; for a special token, the bytes of its name.

        Raises:
          ValueError: an id outside the vocabulary.
        """
        token = self._backend.id_to_token(token_id)
        if token is None and token_id in self.holes:
            return b""
        if token is None:
            raise ValueError(f"token id {token_id} is outside the vocabulary of {self.vocab_size}")
        # Byte-level vocabularies spell added tokens as text; SentencePiece spells them like all others.
        if token_id in self._special or (token_id in self._added and self._spell is _spell_byte_level):
            return token.encode()
        return self._spell(token)


def train_tokenizer(texts: Iterable[str], vocab_size: int, directory: Path) -> None:
    """Trains byte-level BPE and writes tokenizer.json and tokenizer_config.json; a pure function of the texts."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[assignment]
        [
            pre_tokenizers.Split(Regex(PRE_TOKENS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=24,
        show_progress=True,
    )
    tokenizer.train_from_iterator(texts, trainer)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END_OF_TEXT, "pad_token": PAD}
    directory.mkdir(parents=True, exist_ok=True)
    atomic_write(directory / "tokenizer.json", tokenizer.to_str(pretty=False) + "\n")
    atomic_write(directory / "tokenizer_config.json", json.dumps(config, indent=1) + "\n")


def _byte_of_char() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 bytes stand for themselves, the others for U+0100 and up."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


_BYTE_OF_CHAR = _byte_of_char()


def _encodable(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _with_its_ids(backend: tokenizers.Tokenizer, file: Path) -> tokenizers.Tokenizer:
    """The backend with the ids that its file gives to added tokens.

    The library numbers them from the count of tokens, which gives other ids if the vocabulary has holes.
    """
    described = json.loads(file.read_text(encoding="utf-8"))
    said = {token["content"]: token["id"] for token in described.get("added_tokens") or ()}
    if all(backend.token_to_id(content) == i for content, i in said.items()):
        return backend
    described["model"]["vocab"] |= said  # no merge produces them, so no text's tokens change
    return tokenizers.Tokenizer.from_str(json.dumps(described))


def _require_own_ids(backend: tokenizers.Tokenizer, directory: Path) -> None:
    """Raises UserError naming two tokens with one id: which of them a model means cannot be known."""
    named: dict[int, str] = {}
    for token, i in backend.get_vocab(with_added_tokens=True).items():
        if i in named:
            both = " and ".join(map(repr, sorted((token, named[i]))))
            raise UserError(
                f"{directory}: {both} are both token {i}; copy the tokenizer again from its model"
            )
        named[i] = token


def _special_names(directory: Path) -> dict[str, str]:
    names: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if not (directory / name).is_file():
            continue
        try:
            config = json.loads((directory / name).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{directory / name}: not JSON ({error}); copy it again from its model"
            ) from error
        if not isinstance(config, dict):
            raise UserError(f"{directory / name}: not a JSON object; copy it again from its model")
        for key in ("bos_token", "eos_token", "pad_token"):
            value = config.get(key)
            value = value.get("content") if isinstance(value, dict) else value
            if value is not None and not (isinstance(value, str) and value == _encodable(value)):
                raise UserError(
                    f"{directory / name}: {key} = {value!r} is not a token; copy it again from its model"
                )
            if value:
                names[key] = value
        if config.get("add_bos_token"):
            names["added"] = "bos_token"
    return names


def _chat_template(directory: Path) -> str | None:
    """The model's own template; of several named ones, the default. Raises UserError if it is not text."""
    file = directory / "chat_template.jinja"
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{file}: not UTF-8 ({error}); copy it again from its model") from error
    file = directory / "tokenizer_config.json"
    said = json.loads(file.read_text(encoding="utf-8")).get("chat_template") if file.is_file() else None
    if isinstance(said, list):
        by_name = {entry.get("name"): entry.get("template") for entry in said if isinstance(entry, dict)}
        said = by_name.get("default")
    if said is not None and not isinstance(said, str):
        raise UserError(f"{file}: chat_template is no text; copy the file again from its model")
    return said


def _end_of_documents(backend: tokenizers.Tokenizer, eos_id: int) -> int:
    """The token between documents: the end of text, unless that ends a conversation's turn."""
    special = {token.content: i for i, token in backend.get_added_tokens_decoder().items() if token.special}
    known = [special[name] for name in ENDS_OF_DOCUMENTS if name in special]
    return eos_id if eos_id in known or not known else known[0]


def _ends_said(directory: Path, backend: tokenizers.Tokenizer) -> set[int]:
    """Further tokens that end a completion: special tokens listed in config.json or generation_config.json."""
    found: set[int] = set()
    for name in ("config.json", "generation_config.json"):
        if not (directory / name).is_file():
            continue
        try:
            said = json.loads((directory / name).read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(
                f"{directory / name}: not JSON ({error}); copy it again from its model"
            ) from error
        ends = said.get("eos_token_id") if isinstance(said, dict) else None
        found |= {i for i in (ends if isinstance(ends, list) else [ends]) if isinstance(i, int)}
    return found & {i for i, token in backend.get_added_tokens_decoder().items() if token.special}


def _start_id(backend: tokenizers.Tokenizer, names: dict[str, str]) -> int | None:
    """The token that the tokenizer puts before a text, or None.

    Its post-processor adds it, or, for older files, transformers does because of `add_bos_token`.
    """
    put = backend.encode("", add_special_tokens=True).ids
    if put:
        return put[0]
    return backend.token_to_id(names.get("bos_token", "")) if "added" in names else None


def _through_transformers(directory: Path) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(str(directory), use_fast=True)
    backend = tokenizers.Tokenizer.from_str(loaded.backend_tokenizer.to_str())
    names = {name: getattr(loaded, name) or "" for name in ("bos_token", "eos_token", "pad_token")}
    return backend, names


def _over_bytes(
    backend: tokenizers.Tokenizer, file: Path
) -> tuple[tokenizers.Tokenizer, Callable[[str], bytes]]:
    """The backend, adapted to encode any text unchanged, and the function that spells its tokens.

    Raises UserError if it is neither of the two kinds.
    """
    described = json.loads(backend.to_str())
    decoder = json.dumps(described["decoder"])
    if isinstance(backend.model, models.BPE) and "ByteLevel" in decoder:
        return backend, _spell_byte_level
    if isinstance(backend.model, models.BPE) and "ByteFallback" in decoder:
        # SentencePiece puts a space before every text, which would be wrong for ours, as they come in pieces.
        steps = (described.get("normalizer") or {}).get("normalizers", [])
        steps[:] = [step for step in steps if step["type"] != "Prepend"]
        if (described.get("pre_tokenizer") or {}).get("type") == "Metaspace":
            described["pre_tokenizer"]["prepend_scheme"] = "never"
        return tokenizers.Tokenizer.from_str(json.dumps(described)), _spell_byte_fallback
    raise UserError(
        f"{file}: only BPE tokenizers over bytes are supported (byte-level as GPT-2's, or byte fallback as "
        "Llama's), this is another"
    )


def _spell_byte_level(token: str) -> bytes:
    if any(char not in _BYTE_OF_CHAR for char in token):
        return token.encode()  # no text's bytes give it; the library's decoder takes it as text too
    return bytes(_BYTE_OF_CHAR[char] for char in token)


def _spell_byte_fallback(token: str) -> bytes:
    """SentencePiece's: `<0x0A>` is a byte, U+2581 a space, the rest is UTF-8."""
    if re.fullmatch(r"<0x[0-9A-F]{2}>", token):
        return bytes([int(token[3:5], 16)])
    return token.replace("\u2581", " ").encode()
