"""Shapes of models by the names of the files in gin/models, read without changing what gin holds."""

from typing import Any

from gin import config_parser
from t5x_selfprog.gin_errors import nearest
from t5x_selfprog.gin_files import GIN_FOLDER
from t5x_selfprog.model.config import ModelConfig
from verifier.errors import UserError


def named(name: str, said: str = "") -> ModelConfig:
    """The shape in gin/models/NAME.gin. Raises UserError where there is none; `said` is the flag that named it."""
    if name not in _files() or not _is_whole(shape := _bindings(f"models/{name}.gin")):
        known = [stem for stem in _files() if _is_whole(_bindings(f"models/{stem}.gin"))]
        guess = nearest(name, known)
        hint = f"did you mean {guess}? " if guess else ""
        raise UserError(f"{said or name}: no shape in gin/models; {hint}There are {', '.join(known)}.")
    return ModelConfig(**shape)


def _files() -> list[str]:
    return sorted(path.stem for path in (GIN_FOLDER / "models").glob("*.gin"))


def _is_whole(bindings: dict[str, Any]) -> bool:
    """Whether these are a whole shape, not only what the models of a family share."""
    return "embed_dim" in bindings


def _bindings(file: str) -> dict[str, Any]:
    """The fields of ModelConfig that a file under gin/ binds, after those of the files that it includes."""
    found: dict[str, Any] = {}
    with open(GIN_FOLDER / file, encoding="utf-8") as lines:
        for statement in config_parser.ConfigParser(lines, _Literals()):
            match statement:
                case config_parser.IncludeStatement(filename=included):
                    found |= _bindings(included)
                case config_parser.BindingStatement(selector="ModelConfig", arg_name=field, value=value):
                    found[field] = value
                case _:
                    raise ValueError(f"gin/{file} binds more than a model's shape: {statement}")
    return found


class _Literals(config_parser.ParserDelegate):
    """A shape consists of literals."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Any:
        raise ValueError(f"a shape refers to @{scoped_configurable_name}")

    def macro(self, macro_name: str) -> Any:
        raise ValueError(f"a shape refers to %{macro_name}")
