"""The decoder: which tokens a token depends on, and one definition for every style."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_selfprog import partitioning
from t5x_selfprog.model import network
from t5x_selfprog.model.attention import Piece, attend, attend_pieces
from t5x_selfprog.model.config import ModelConfig
from verifier.errors import UserError

LLAMA = ModelConfig(61, 64, 32, 3, 4, 2, 8, 48)
NEO = ModelConfig(
    61, 64, 32, 3, 4, 4, 8, 48, norm="layer", mlp="gelu_tanh", positions="learned", windows=(None, 5),
    attention_scale=1.0, biases=("out", "mlp"),
)  # fmt: skip
GPTJ = ModelConfig(
    61, 64, 32, 3, 4, 4, 8, 48, norm="layer", mlp="gelu_tanh", positions="rotary_interleaved", rotary_dim=4,
    residual="parallel", biases=("mlp", "head"), head="separate",
)  # fmt: skip
QWEN3 = ModelConfig(61, 64, 32, 3, 4, 2, 8, 48, qk_norm="rms", biases=("qkv",), embed_scale=2.0)
STYLES = {"llama": LLAMA, "neo": NEO, "gptj": GPTJ, "qwen3": QWEN3}


def logits(config, params, tokens, positions=None, segments=None):
    tokens = jnp.asarray(tokens, jnp.int32)
    positions = (
        jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape) if positions is None else positions
    )
    segments = jnp.ones_like(tokens) if segments is None else segments
    hidden = network.forward(config, params, tokens, jnp.asarray(positions), jnp.asarray(segments))
    return np.asarray(network.bind(config, params).logits(hidden))


def random_params(config, seed=0):
    """Weights large enough that every part matters; fresh ones are so small that they hide mistakes."""
    params = network.init(config, jax.random.key(seed))
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    return jax.tree.unflatten(
        tree, [x + 0.3 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    )


@pytest.fixture(params=STYLES, ids=str)
def style(request):
    return STYLES[request.param]


def test_no_token_sees_the_future(style):
    params = random_params(style)
    tokens = np.random.default_rng(0).integers(0, 61, (2, 24))
    changed = tokens.copy()
    changed[:, 15:] = (changed[:, 15:] + 7) % 61
    before, after = logits(style, params, tokens), logits(style, params, changed)
    np.testing.assert_array_equal(before[:, :15], after[:, :15])
    assert np.abs(before[:, 15:] - after[:, 15:]).max() > 1e-2


def test_a_packed_document_is_computed_as_if_alone(style):
    params = random_params(style)
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 61, (1, 9)), rng.integers(0, 61, (1, 11))
    packed = np.concatenate([first, second, np.zeros((1, 4), int)], axis=1)
    positions = np.concatenate([np.arange(9), np.arange(11), np.zeros(4, int)])[None]
    segments = np.array([[1] * 9 + [2] * 11 + [0] * 4])
    together = logits(style, params, packed, positions, segments)
    np.testing.assert_allclose(together[:, :9], logits(style, params, first), rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(together[:, 9:20], logits(style, params, second), rtol=2e-4, atol=2e-4)
    assert np.isfinite(together).all()


def test_a_window_hides_what_lies_further_back():
    config = dataclasses.replace(LLAMA, num_layers=1, windows=(4,))
    params = random_params(config)
    tokens = np.random.default_rng(2).integers(0, 61, (1, 20))
    changed = tokens.copy()
    changed[0, 10] = (changed[0, 10] + 1) % 61
    same = np.isclose(logits(config, params, tokens), logits(config, params, changed), atol=1e-6).all(
        axis=-1
    )[0]
    assert same[:10].all() and not same[10:14].any() and same[14:].all()


def test_pieces_under_one_softmax_equal_their_concatenation():
    g, r, h, kv, c = 3, 2, 4, 2, 8
    keys = iter(jax.random.split(jax.random.key(0), 20))
    draw = lambda *shape: jax.random.normal(next(keys), shape)  # noqa: E731
    q = draw(g, r, h, c)
    shared = draw(1, 5, kv, c), draw(1, 5, kv, c), jnp.ones((1, 1, 5), bool)
    seen = jnp.arange(7)[None, None] < jnp.array([3, 7, 1])[:, None, None]
    group = draw(g, 7, kv, c), draw(g, 7, kv, c), seen
    own = draw(g, r, 4, kv, c), draw(g, r, 4, kv, c), jax.random.bernoulli(next(keys), 0.6, (g, r, 4))
    mixed = attend_pieces(q, [Piece.of(*shared), Piece.of(*group), Piece.of(*own)], 0.3)
    for i in range(g):
        for j in range(r):
            k, v = (jnp.concatenate([shared[n][0], group[n][i], own[n][i, j]])[None] for n in (0, 1))
            mask = jnp.concatenate([jnp.ones(5, bool), seen[i, 0], own[2][i, j]])[None, None]
            alone = attend(q[i, j][None, None], k, v, mask, 0.3)[0, 0]
            np.testing.assert_allclose(mixed[i, j], alone, rtol=1e-4, atol=1e-5)


def test_every_weight_has_a_logical_axis_per_dimension(style):
    axes, shapes = network.logical_axes(style), network.abstract_params(style)
    is_axes = lambda x: isinstance(x, tuple)  # noqa: E731
    assert jax.tree.structure(axes, is_leaf=is_axes) == jax.tree.structure(shapes)
    for names, shape in zip(jax.tree.leaves(axes, is_leaf=is_axes), jax.tree.leaves(shapes), strict=True):
        assert len(names) == len(shape.shape)


def test_a_sharded_forward_pass_gives_the_same_logits(style):
    params = random_params(style)
    tokens = jnp.asarray(np.random.default_rng(3).integers(0, 61, (4, 16)), jnp.int32)
    alone = logits(style, params, tokens)
    partitioner = partitioning.Partitioner(partitioning.MeshConfig(2, 2, 2).make())
    shardings = partitioner.param_shardings(network.logical_axes(style), network.abstract_params(style))
    with partitioning.use(partitioner):
        spread = jax.jit(lambda p: network.bind(style, p).logits(
            network.forward(style, p, tokens, jnp.broadcast_to(jnp.arange(16), (4, 16)), jnp.ones_like(tokens))
        ))(jax.device_put(params, shardings))  # fmt: skip
    np.testing.assert_allclose(spread, alone, rtol=1e-4, atol=1e-4)


def test_two_dimensions_on_one_mesh_axis_are_refused_by_name():
    mesh = partitioning.MeshConfig(2, 2, 2).make()
    rules = partitioning.DEFAULT_RULES | {"mlp": ("fsdp",)}
    with pytest.raises(UserError, match=r"'embed' and 'mlp'.*'fsdp'"):
        partitioning.Partitioner(mesh, rules).spec(("layers", "embed", "mlp"))


def test_a_mesh_that_does_not_fit_names_sizes_and_devices():
    with pytest.raises(UserError, match=r"'tensor': 3.*8 devices"):
        partitioning.MeshConfig(-1, 1, 3).make()


def test_config_survives_json_and_names_what_it_does_not_know():
    assert ModelConfig.from_json(NEO.to_json()) == NEO
    with pytest.raises(
        UserError, match=r"unknown model fields \['depth'\].*missing model fields \['num_layers'\]"
    ):
        ModelConfig.from_json(NEO.to_json().replace("num_layers", "depth"))
