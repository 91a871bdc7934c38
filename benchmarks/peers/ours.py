"""Our side: the functions that a run calls, on random weights."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from benchmarks.peers.work import Encoding, Sampling, Update, draw_patches, draw_text
from mobile_r1_jax.model.config import PolicyConfig
from mobile_r1_jax.model.decode_layout import sampling_copy
from mobile_r1_jax.model.inputs import Completions, EncodedScreens, Prompts
from mobile_r1_jax.model.packing import Shape, blocks_of, pack_screens
from mobile_r1_jax.model.policy import Policy, to_compute_dtype
from mobile_r1_jax.model.sharding import computing_on, parameter_shardings, shard_batch
from mobile_r1_jax.rl import GRPO, Likelihood
from mobile_r1_jax.sampling import sampler
from mobile_r1_jax.sampling.screen_cache import encode
from mobile_r1_jax.training.optimizer_settings import OptimizerSettings
from mobile_r1_jax.training.state import create_state
from mobile_r1_jax.training.step import Batch, StepSettings, place_batch, train_step

OPTIMIZER = OptimizerSettings(learning_rate=1e-6)
LOSSES = {"GRPO": GRPO(beta=0.0), "SFT": Likelihood()}


def make_policy(config: PolicyConfig, mesh: Mesh, dtype: jnp.dtype) -> Policy:
    """Return a policy with random float32 weights, sharded over the mesh, that computes in `dtype`."""

    def make() -> Policy:
        return Policy(config, rngs=nnx.Rngs(0), dtype=dtype, remat="none" if dtype == jnp.float32 else "matmuls")

    graph, shapes = nnx.split(nnx.eval_shape(make))
    flat = {".".join(path): variable.shape for path, variable in nnx.to_flat_state(shapes)}
    where = parameter_shardings(config, flat, mesh)
    placed = nnx.map_state(lambda path, _: where[".".join(path)], shapes)
    return nnx.merge(graph, jax.jit(lambda: nnx.state(make()), out_shardings=placed)())


def sampling(policy: Policy, work: Sampling, mesh: Mesh, temperature: float) -> Callable[[], np.ndarray]:
    """Return a function that samples and returns the ids [B * G, C]."""
    policy = sampling_copy(policy)
    screens, prompts = _text_only(draw_text(work, policy.config.text.vocab).prompts, policy)
    keys = jax.random.split(jax.random.key(0), work.prompts)
    screens, prompts, keys = shard_batch((screens, prompts, keys), mesh)
    settings = sampler.Sampling(max_tokens=work.tokens, temperature=temperature)

    def run() -> np.ndarray:
        with computing_on(mesh):
            drawn = sampler.sample(policy, screens, prompts, keys, group=work.group, sampling=settings)
        return np.asarray(drawn.ids).reshape(-1, work.tokens)

    return run


def make_batch(policy: Policy, work: Update) -> Batch:
    text = draw_text(work, policy.config.text.vocab)
    weights = text.advantages if work.loss == "GRPO" else np.ones_like(text.advantages)
    mask, logps = np.ones(text.completions.shape, bool), np.zeros(text.completions.shape, np.float32)
    return Batch(*_text_only(text.prompts, policy), Completions(text.completions, mask, logps, weights))


def update(policy: Policy, work: Update, mesh: Mesh) -> Callable[[], np.ndarray]:
    """Return a function that updates a copy of the policy and returns [loss, gradient norm]."""
    batch = place_batch(make_batch(policy, work), mesh)
    settings = StepSettings(LOSSES[work.loss], OPTIMIZER)
    # A train step donates its parameters, and the policy is used again.
    copy = jax.tree.map(jnp.copy, policy)
    state = create_state(copy, OPTIMIZER, frozen=("vision",), key=jax.random.key(0))
    del copy

    def run() -> np.ndarray:
        nonlocal state
        with computing_on(mesh):
            state, metrics = train_step(state, batch, settings=settings)
        jax.block_until_ready(state.trained)
        return np.array([metrics["loss"], metrics["grad_norm"]])

    return run


def encoding(policy: Policy, work: Encoding, mesh: Mesh) -> Callable[[], np.ndarray]:
    """Return a function that encodes the screens and returns the merged tokens [N, M, D] in raster order."""
    config, size = policy.config.vision, (work.width, work.height)
    shape = Shape(work.screens, blocks_of(size, config))
    screens, places = pack_screens(draw_patches(work, config), [size] * work.screens, config=config, shape=shape)
    vision, screens = to_compute_dtype(policy).vision, shard_batch(screens, mesh)

    def run() -> np.ndarray:
        with computing_on(mesh):
            tokens = np.asarray(encode(vision, screens).astype(jnp.float32))
        return tokens.reshape(-1, tokens.shape[-1])[np.stack(places)]

    return run


def _text_only(ids: np.ndarray, policy: Policy) -> tuple[EncodedScreens, Prompts]:
    """Return prompts [B, P] without screens."""
    positions = np.broadcast_to(np.arange(ids.shape[1], dtype=np.int32), (3, *ids.shape))
    nothing = EncodedScreens(np.zeros((0, 1, policy.config.text.width), np.float32))
    return nothing, Prompts(ids, positions, np.ones(ids.shape, bool), np.full(ids.shape, -1, np.int32))
