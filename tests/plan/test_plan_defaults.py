"""Where gin binds nothing, the plan counts on what the stages do."""

import ast
import inspect
from pathlib import Path

import pytest

import gin
import t5x_selfprog.loop  # noqa: F401 (declares the stages to gin)
from t5x_selfprog.plan import from_gin
from t5x_selfprog.stages import ahead
from t5x_selfprog.stages.build_dataset import Selection

CLASSES = {"Selection": Selection}


def asked() -> list[tuple[str, object]]:
    """Parameters that the plan looks up, with the values that it takes where they are not bound."""
    found = []
    for path in Path(from_gin.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name("bound") | ast.Attribute(attr="bound"), args=[ast.Constant(name), default]
                ):
                    found.append((name, ast.literal_eval(default)))
    return found


def default_of(name: str) -> object:
    configurable, _, parameter = name.rpartition(".")
    taken = CLASSES.get(configurable) or gin.get_configurable(configurable)
    return inspect.signature(taken).parameters[parameter].default


def test_the_plan_looks_up_what_decides_a_run():
    assert {"finetune.run.batch_size", "sample_solutions.run.attempts"} <= dict(asked()).keys()


@pytest.mark.parametrize(("name", "default"), asked())
def test_a_parameter_that_is_not_bound_has_the_stage_s_own_value(name, default):
    assert default == default_of(name)


@pytest.mark.parametrize("scope", from_gin.ATTEMPTS)
def test_a_grid_is_fitted_to_the_attempts_that_the_stage_asks_for(scope):
    assert (
        from_gin.ATTEMPTS[scope]
        == ahead.ATTEMPTS[f"sample_{scope}"]
        == default_of(f"sample_{scope}.run.attempts")
    )
