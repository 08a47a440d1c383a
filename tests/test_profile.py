"""The trace summed by operation, on a real trace."""

import jax
import jax.numpy as jnp
import pytest

from t5x_selfprog import profile
from verifier.errors import UserError


def test_the_longest_operation_of_a_trace_is_the_one_that_works_most(tmp_path):
    @jax.jit
    def work(x):
        for _ in range(20):
            x = jnp.tanh(x @ x) * 1e-3
        return jnp.sort(x[0])

    x = jnp.ones((400, 400))
    jax.block_until_ready(work(x))
    with profile.capture(str(tmp_path)):
        for _ in range(5):
            jax.block_until_ready(work(x))
    rows = profile.by_operation(str(tmp_path))
    assert sum(row["share"] for row in rows) == pytest.approx(1.0, abs=0.01)
    assert rows == sorted(rows, key=lambda row: -row["seconds"]) and rows[0]["seconds"] > 0
    assert any(row["calls"] >= 100 for row in rows)  # twenty products, five times


def test_no_trace_names_the_flag_that_makes_one(tmp_path):
    with profile.capture(None):
        pass
    with pytest.raises(UserError, match="no trace here"):
        profile.by_operation(str(tmp_path))
