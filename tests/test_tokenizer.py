"""The shipped tokenizer on unusual texts, and the loader on faulty directories."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from t5x_selfprog import tokenizer as module
from t5x_selfprog.tokenizer import Tokenizer, train_tokenizer
from verifier.errors import UserError

SHIPPED = Path(module.__file__).parent / "assets" / "base"
FEW_SHOT = "def f(x: int, a=3):\n    return x + a == 10\n\ndef g(a=3):\n    return 10 - a\n\nassert f(g())\n"
UTF8_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
CODE_TEXT = st.text(st.sampled_from(list("ab_.19 \t\n\r\0(:=\"'#é\u2028🙂")), max_size=60)


@functools.cache
def load_shipped() -> Tokenizer:
    return Tokenizer.load(SHIPPED)


@pytest.fixture
def shipped() -> Tokenizer:
    return load_shipped()


def test_ids_of_special_tokens_and_vocabulary_size_are_what_the_model_was_built_for(shipped):
    assert (shipped.pad_id, shipped.eos_id, shipped.vocab_size) == (0, 1, 4096)


@settings(max_examples=300, deadline=None)
@given(UTF8_TEXT | CODE_TEXT)
def test_any_text_comes_back_as_it_was(text):
    tokenizer = load_shipped()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()


@pytest.mark.parametrize(
    "text", ["", "\0", "a\r\nb", "\t\tx", "  \n \n", "naïve 数 🙂‍↔️", "\ufeffx", "\u0130"]
)
def test_awkward_texts_come_back_as_they_were(shipped, text):
    assert shipped.decode(shipped.encode(text)) == text


def test_a_lone_surrogate_becomes_a_replacement_character_and_nothing_else_changes(shipped):
    assert shipped.decode(shipped.encode("a\ud800b🙂")) == "a\ufffdb🙂"


def test_names_of_special_tokens_in_a_text_are_text(shipped):
    text = "x = '<|endoftext|><|pad|>'"
    ids = shipped.encode(text)
    assert not {shipped.eos_id, shipped.pad_id} & set(ids)
    assert shipped.decode(ids) == text


def test_special_tokens_are_left_out_of_decoded_text(shipped):
    assert shipped.decode([1, *shipped.encode("a"), 1, 0, 0]) == "a"


def test_no_token_joins_a_newline_with_what_follows_its_indentation(shipped):
    for token_id in range(2, shipped.vocab_size):
        data = shipped.token_bytes(token_id)
        assert b"\n" not in data or not data.lstrip(b"\n").strip(b" "), data
        assert not data.strip(b"\n ") or not data.endswith(b"\n"), data


@settings(max_examples=200, deadline=None)
@given(CODE_TEXT)
def test_first_unindented_line_shows_at_a_token_boundary(text):
    tokenizer = load_shipped()
    ends, position = {0}, 0
    for token_id in tokenizer.encode(text):
        position += len(tokenizer.token_bytes(token_id))
        ends.add(position)
    data = text.encode()
    for at in range(1, len(data)):
        if data[at - 1 : at] == b"\n" and data[at : at + 1] not in b" \n":
            assert at in ends


def test_digits_stand_alone_and_prompts_end_at_token_boundaries(shipped):
    pieces = [shipped.token_bytes(i).decode() for i in shipped.encode("x = [12, 345]")]
    assert all(sum(char.isdigit() for char in piece) <= 1 for piece in pieces)
    for cut in ("def f(", "def g(a=3):", "return x + a == 10\n\n"):
        prompt, rest = FEW_SHOT.split(cut, 1)
        assert shipped.encode(prompt + cut) + shipped.encode(rest) == shipped.encode(FEW_SHOT)


def test_batches_give_what_single_texts_give(shipped):
    texts = [FEW_SHOT, "", "a\ud800", "<|pad|>"]
    assert shipped.encode_batch(texts) == [shipped.encode(text) for text in texts]


def test_bytes_outside_the_vocabulary_are_refused(shipped):
    with pytest.raises(ValueError, match="4096"):
        shipped.token_bytes(4096)


def test_half_a_character_decodes_to_a_replacement(shipped):
    half = next(i for i in range(2, 300) if shipped.token_bytes(i) == b"\xc3")
    assert shipped.decode([half]) == "\ufffd"


def test_training_twice_gives_the_same_files(tmp_path):
    texts = [FEW_SHOT, "def h(words):\n    return sorted(words, key=len)\n"] * 5
    for name in ("one", "two"):
        train_tokenizer(texts, 300, tmp_path / name)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_tokenizer_of_the_old_layout_is_read_through_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    train_tokenizer([FEW_SHOT] * 5, 300, tmp_path / "ours")
    model = json.loads((tmp_path / "ours" / "tokenizer.json").read_text())["model"]
    old = tmp_path / "old"
    old.mkdir()
    (old / "vocab.json").write_text(json.dumps(model["vocab"]))
    (old / "merges.txt").write_text(
        "#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in model["merges"])
    )
    config = {"model_type": "gpt2", "tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>"}
    (old / "tokenizer_config.json").write_text(json.dumps(config))
    (old / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    loaded = Tokenizer.load(old)
    assert transformers and loaded.eos_id == loaded.pad_id == 1
    assert loaded.decode(loaded.encode(FEW_SHOT + "\0é")) == FEW_SHOT + "\0é"


def test_a_missing_directory_is_named_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.*pretraining_corpus"):
        Tokenizer.load(tmp_path / "nowhere")


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)


def test_a_tokenizer_that_is_not_byte_level_is_refused(tmp_path):
    tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "<|endoftext|>": 1}, "a")).save(
        str(tmp_path / "tokenizer.json")
    )
    with pytest.raises(UserError, match="BPE tokenizers over bytes"):
        Tokenizer.load(tmp_path)


def sentencepiece_like(folder: Path, metaspace: bool) -> Tokenizer:
    """A tokenizer like Llama's, adding spaces in the older (normaliser) or the newer (Metaspace) way."""
    special = ["<unk>", "<s>", "</s>"]
    words = [
        "\u2581",
        *"abdefr",
        "de",
        "def",
        "\u2581d",
        "\u2581de",
        "\u2581def",
        "\u2581\u2581",
        "\u2581\u2581\u2581\u2581",
    ]
    vocabulary = {
        token: i for i, token in enumerate([*special, *(f"<0x{b:02X}>" for b in range(256)), *words])
    }
    merges = [
        ("\u2581", "\u2581"),
        ("\u2581\u2581", "\u2581\u2581"),
        ("d", "e"),
        ("de", "f"),
        ("\u2581", "d"),
    ]
    merges += [("\u2581d", "e"), ("\u2581", "de"), ("\u2581", "def"), ("\u2581de", "f")]
    model = tokenizers.models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    backend = tokenizers.Tokenizer(model)
    if metaspace:
        backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        steps = [tokenizers.normalizers.Prepend("\u2581"), tokenizers.normalizers.Replace(" ", "\u2581")]
        backend.normalizer = tokenizers.normalizers.Sequence(steps)
    backend.decoder = tokenizers.decoders.Sequence(
        [
            tokenizers.decoders.Replace("\u2581", " "),
            tokenizers.decoders.ByteFallback(),
            tokenizers.decoders.Fuse(),
            tokenizers.decoders.Strip(" ", 1, 0),
        ]
    )
    backend.add_special_tokens(special)
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": {"content": "</s>"}}')
    return Tokenizer.load(folder)


@pytest.mark.parametrize("metaspace", [False, True])
def test_a_tokenizer_of_llamas_kind_encodes_texts_as_they_are(tmp_path, metaspace):
    tokenizer = sentencepiece_like(tmp_path, metaspace)
    assert tokenizer.eos_id == 2
    for text in ("def", " def", "  \n    def(x)\r\n\n", "\0 \u2028é🙂</s><0x0A>", ""):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()
    # The pieces of a text make up the text: nothing is added before a piece.
    assert tokenizer.encode("def") + tokenizer.encode(" def") == tokenizer.encode("def def")
    assert len(tokenizer.encode("    def")) < 3


def test_documents_start_as_the_tokenizer_starts_them(tmp_path, shipped):
    assert (
        shipped.start_id == shipped.eos_id
    )  # ours adds nothing before a text: it follows the end of another
    llama = sentencepiece_like(tmp_path, metaspace=True)
    assert llama.start_id == llama.eos_id
    config = {"eos_token": "</s>", "bos_token": {"content": "<s>"}, "add_bos_token": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert Tokenizer.load(tmp_path).start_id == 1 != llama.eos_id
    # tokenizer.json itself takes precedence.
    backend = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        "<unk> $A", special_tokens=[("<unk>", 0)]
    )
    backend.save(str(tmp_path / "tokenizer.json"))
    loaded = Tokenizer.load(tmp_path)
    assert loaded.start_id == 0 and loaded.encode("def") == llama.encode("def")


def test_loading_imports_neither_transformers_nor_torch():
    code = (
        "import sys; from t5x_selfprog.tokenizer import Tokenizer; "
        f"Tokenizer.load({str(SHIPPED)!r}).encode('a'); "
        "print(sorted({'transformers', 'torch', 'tensorflow', 'jax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
