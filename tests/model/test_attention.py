"""Each case has one mask, and every kernel computes the same attention for it."""

import importlib.util
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mobile_r1_jax.model.attention import KV, QUERY_BLOCK, Segments, attention, kernel_for, splash, to_cache_layout
from mobile_r1_jax.model.config import PolicyConfig, TextConfig, VisionConfig
from mobile_r1_jax.model.inputs import EncodedScreens, Prompts
from mobile_r1_jax.model.packing import Shape, pack_screens
from mobile_r1_jax.model.policy import Cache, Policy
from mobile_r1_jax.model.rotary import Rotation

B, N, K, H = 2, 4, 2, 64


@dataclass(frozen=True)
class Case:
    """A shape of queries [B, G, T], the (members, tokens) of each part of keys, and the mask of all keys."""

    group: int
    length: int
    parts: tuple[tuple[int, int], ...]
    segments: Segments | None
    causal: bool
    seen: np.ndarray  # [B, G * T, all keys] bool


def _lengths(*lengths: int, room: int) -> np.ndarray:
    return (np.arange(room) < np.array(lengths)[:, None]).astype(np.int32)


def _windows(groups: int, length: int) -> Case:
    """Return segments in `groups` rows: windows in blocks, or with one group, screens in a row."""
    ids = np.sort(np.random.default_rng(0).integers(0, 4, (B, groups, length)), axis=-1).astype(np.int32)
    flat = (ids + 10 * np.arange(groups)[:, None]).reshape(B, -1)
    return Case(groups, length, ((groups, length),), Segments(ids, (ids,)), False, flat[:, :, None] == flat[:, None, :])


def _prompt(length: int) -> Case:
    seen = np.broadcast_to(np.tri(length, dtype=bool), (B, length, length))
    return Case(1, length, ((1, length),), None, True, seen)


def _completions(prompt: int, group: int, tokens: int) -> Case:
    """Return the mask by definition: the prompt without padding, and the own completion up to the token itself."""
    there = _lengths(prompt - 5, prompt, room=prompt)
    own = np.kron(np.eye(group), np.tri(tokens)).astype(bool)
    shown = np.broadcast_to(there[:, None].astype(bool), (B, group * tokens, prompt))
    seen = np.concatenate([shown, np.broadcast_to(own, (B, *own.shape))], axis=-1)
    segments = Segments(np.ones((1, 1, 1), np.int32), (there[:, None], None))
    return Case(group, tokens, ((1, prompt), (group, tokens)), segments, True, seen)


def _next(prompt: int, group: int, room: int, step: int) -> Case:
    there, written = _lengths(prompt - 3, prompt, room=prompt), (np.arange(room) <= step).astype(np.int32)
    own = np.kron(np.eye(group), written).astype(bool)
    shown = np.broadcast_to(there[:, None].astype(bool), (B, group, prompt))
    seen = np.concatenate([shown, np.broadcast_to(own, (B, *own.shape))], axis=-1)
    segments = Segments(np.ones((1, 1, 1), np.int32), (there[:, None], written[None, None]))
    return Case(group, 1, ((1, prompt), (group, room)), segments, False, seen)


SMALL = {
    "windows in blocks": _windows(3, 8),
    "screens in a row": _windows(1, 24),
    "a prompt": _prompt(12),
    "a prompt of several blocks of queries": _prompt(QUERY_BLOCK + 44),
    "completions of a prompt": _completions(12, 3, 5),
    "the next token of each": _next(12, 3, 6, step=4),
}
# Long enough for blocks of splash attention, which are of 128.
LARGE = {
    "screens in a row": _windows(1, 256),
    "a prompt": _prompt(256),
    "completions of a prompt": _completions(256, 2, 128),
}


def arrays(case: Case, dtype: jnp.dtype = jnp.float32) -> tuple[jax.Array, list[KV]]:
    rng = np.random.default_rng(1)
    q = jnp.asarray(rng.normal(size=(B, case.group, case.length, N, H)), dtype)
    shapes = [(B, members, tokens, K, H) for members, tokens in case.parts]
    return q, [KV(*(jnp.asarray(rng.normal(size=shape), dtype) for _ in range(2))) for shape in shapes]


def by_definition(case: Case, q: jax.Array, parts: list[KV]) -> np.ndarray:
    """Return attention by the textbook formula over all keys in one row, in float64."""
    queries = np.asarray(q, np.float64).reshape(B, -1, N, H)
    k, v = (
        np.concatenate([np.asarray(part[i], np.float64).reshape(B, -1, K, H) for part in parts], axis=1).repeat(
            N // K, axis=2
        )
        for i in range(2)
    )
    scores = np.where(case.seen[:, None], np.einsum("btnh,bsnh->bnts", queries, k) / np.sqrt(H), -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bnts,bsnh->btnh", weights / weights.sum(-1, keepdims=True), v).reshape(q.shape)


def attend(case: Case, q: jax.Array, *parts: KV, kernel: str) -> jax.Array:
    return attention(q, *parts, segments=case.segments, causal=case.causal, kernel=kernel)


def gradients(case: Case, kernel: str, q: jax.Array, parts: list[KV]) -> list[jax.Array]:
    weights = jnp.asarray(np.random.default_rng(2).normal(size=q.shape), q.dtype)

    def loss(q: jax.Array, parts: list[KV]) -> jax.Array:
        return jnp.sum((attend(case, q, *parts, kernel=kernel) * weights).astype(jnp.float32))

    return jax.tree.leaves(jax.jit(jax.grad(loss, argnums=(0, 1)))(q, parts))


@pytest.mark.parametrize("name", SMALL)
def test_plain_products_equal_attention_by_definition(name: str) -> None:
    case = SMALL[name]
    q, parts = arrays(case)
    np.testing.assert_allclose(attend(case, q, *parts, kernel="xla"), by_definition(case, q, parts), atol=2e-6)


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run Pallas kernels without a TPU."""
    monkeypatch.setattr(splash, "make_splash_mha", partial(splash.make_splash_mha, interpret=True))


@pytest.mark.parametrize("name", LARGE)
def test_splash_attention_and_its_gradients_equal_plain_products(name: str, interpreted: None) -> None:
    case = LARGE[name]
    q, parts = arrays(case)
    np.testing.assert_allclose(attend(case, q, *parts, kernel="splash"), by_definition(case, q, parts), atol=1e-5)
    pairs = zip(*(gradients(case, kernel, q, parts) for kernel in ("splash", "xla")), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def check_cudnn(name: str) -> None:
    case = LARGE[name]
    q, parts = arrays(case, jnp.bfloat16)
    ours = np.asarray(attend(case, q, *parts, kernel="cudnn"), np.float32)
    np.testing.assert_allclose(ours, by_definition(case, q, parts), atol=2e-2)
    pairs = zip(*(gradients(case, kernel, q, parts) for kernel in ("cudnn", "xla")), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_allclose(np.asarray(ours, np.float32), np.asarray(theirs, np.float32), atol=6e-2)


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="cuDNN needs a GPU")
@pytest.mark.parametrize("name", LARGE)
def test_cudnn_and_its_gradients_equal_plain_products_within_bfloat16(name: str) -> None:
    check_cudnn(name)


@pytest.mark.parametrize("name", LARGE)
def test_arguments_for_cudnn_give_attention_with_plain_products(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, attend = [], jax.nn.dot_product_attention

    def answer(*arrays: jax.Array, implementation: str, **options: object) -> jax.Array:
        asked.append(implementation)
        return attend(*arrays, implementation="xla", **options)

    monkeypatch.setattr(jax.nn, "dot_product_attention", answer)
    check_cudnn(name)
    assert set(asked) == {"cudnn"}


def test_platform_determines_the_kernel_and_short_sequences_use_plain_products() -> None:
    assert [kernel_for(platform) for platform in ("tpu", "gpu", "cpu")] == ["splash", "cudnn", "xla"]

    def program(case: Case) -> str:
        q, parts = arrays(case)
        return str(jax.make_jaxpr(partial(attend, case, kernel="splash"))(q, *parts))

    assert all("pallas_call" in program(case) for case in LARGE.values())
    assert not any("pallas_call" in program(case) for case in SMALL.values())


def test_policy_uses_its_kernel_everywhere_except_in_decoding() -> None:
    config = PolicyConfig(
        text=TextConfig(vocab=64, width=128, feed_forward=64, layers=1, heads=2, kv_heads=1, mrope_section=(8, 12, 12)),
        vision=VisionConfig(width=128, feed_forward=64, layers=2, heads=2, out_width=128, full_attention=(1,)),
    )
    screens, places = pack_screens(
        [np.zeros((128, 1176), np.float32)], [(112, 224)], config=config.vision, shape=Shape(1, 2)
    )
    ids = np.zeros((1, 128), np.int32)
    prompts = Prompts(ids, np.zeros((3, 1, 128), np.int32), ids == 0, np.full((1, 128), places[0][0], np.int32))
    completions = np.zeros((1, 2, 128), np.int32)

    def kernels(kernel: str, method: str, *arguments: object, **more: int) -> int:
        policy = nnx.eval_shape(lambda: Policy(config, rngs=nnx.Rngs(0), kernel=kernel, loop="scan"))
        jaxpr = jax.make_jaxpr(lambda policy: getattr(policy, method)(*arguments, **more))(policy)
        return str(jaxpr).count(" pallas_call[")

    programs = {
        "encode_screens": (screens,),
        "completion_hidden": (EncodedScreens(np.zeros((1, 32, 128))), prompts, completions, completions == 0),
    }
    assert {name: kernels("splash", name, *arguments) for name, arguments in programs.items()} == {
        "encode_screens": 1,  # full attention, not windows
        "completion_hidden": 2,  # the prompt, its completions
    }
    assert not any(kernels("xla", name, *arguments) for name, arguments in programs.items())
    own, prompt = (to_cache_layout(KV(*[jnp.zeros((rows, 128, 1, 64))] * 2)) for rows in (2, 1))
    rotation = Rotation(*[jnp.zeros((1, 128, 32))] * 2)
    cache = Cache((prompt,), ids == 0, jnp.zeros(1, jnp.int32), rotation, (own,))
    assert kernels("splash", "prefill", programs["completion_hidden"][0], prompts, group=2, max_tokens=128) == 1
    assert kernels("splash", "decode_step", cache, np.zeros((1, 2), np.int32), 0) == 0


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="libtpu, the TPU's compiler, is not installed")
@pytest.mark.parametrize("name", LARGE)
def test_tpu_compiler_accepts_splash_attention_and_its_gradients_on_a_mesh(name: str, monkeypatch) -> None:
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    from jax.experimental.topologies import get_topology_desc
    from jax.sharding import NamedSharding, PartitionSpec

    from mobile_r1_jax.model.sharding import make_mesh

    case = LARGE[name]
    mesh = make_mesh("2x2", get_topology_desc(platform="tpu", topology_name="v6e:2x2").devices)
    rows = NamedSharding(mesh, PartitionSpec("fsdp", None, None, "tensor"))
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16, sharding=rows), jax.eval_shape(lambda: arrays(case))
    )

    def loss(q: jax.Array, parts: list[KV]) -> jax.Array:
        return jnp.sum(attend(case, q, *parts, kernel="splash").astype(jnp.float32))

    with jax.set_mesh(mesh):
        compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).trace(*shapes).lower().compile()
    assert "tpu_custom_call" in compiled.as_text()
