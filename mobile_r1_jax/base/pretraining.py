"""Pretraining of the small base policy: next-token prediction on documents about screens, resumable at any step."""

import dataclasses
import functools
import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import nnx
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from mobile_r1_jax.agent.prompts import Past, build_prompt, encode, response_ids
from mobile_r1_jax.agent.screenshots import Resizing, Screenshot, patches
from mobile_r1_jax.base.documents import Document, documents
from mobile_r1_jax.base.tokenizer import save_tokenizer, train_tokenizer
from mobile_r1_jax.model.config import PolicyConfig, TextConfig, VisionConfig
from mobile_r1_jax.model.inputs import Prompts, Screens, collate
from mobile_r1_jax.model.logps import token_logps
from mobile_r1_jax.model.policy import Policy

RESIZING = Resizing(scale=1.0)  # the demo's screens are small enough as they are
PROMPT_LENGTH, TEXT_LENGTH = 160, 168


@dataclass(frozen=True)
class Pretraining:
    """A pretraining run. Sizes are (width, height) in pixels."""

    steps: int = 12_000
    batch: int = 16
    learning_rate: float = 2e-3
    warmup: int = 300
    cooldown: float = 0.3  # share of the steps over which the learning rate falls to zero
    seed: int = 0
    size: tuple[int, int] = (112, 224)
    save_every: int = 500


def base_config(
    vocabulary: int, image_token: int, video_token: int, vision_start: int, vision_end: int, stop: int, pad: int
) -> PolicyConfig:
    """Qwen2.5-VL's structure at two million parameters; few wide heads, since XLA on a CPU is slow on narrow ones."""
    return PolicyConfig(
        text=TextConfig(
            vocab=vocabulary,
            width=128,
            feed_forward=384,
            layers=4,
            heads=2,
            kv_heads=1,
            rope_theta=10_000.0,
            mrope_section=(8, 12, 12),
            norm_eps=1e-6,
            tied=True,
            max_positions=4096,
        ),
        vision=VisionConfig(
            width=128,
            feed_forward=256,
            layers=3,
            heads=2,
            out_width=128,
            patch=14,
            temporal_patch=2,
            merge=2,
            window=112,
            full_attention=(2,),
            channels=3,
            rope_theta=10_000.0,
        ),
        image_token=image_token,
        video_token=video_token,
        vision_start=vision_start,
        vision_end=vision_end,
        bos=None,
        eos=(stop,),
        pad=pad,
    )


def config_for(tokenizer: PreTrainedTokenizerBase) -> PolicyConfig:
    """`base_config` with the tokenizer's own ids; the vocabulary rounded up to a multiple of 64."""
    names = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|im_end|>", "<|endoftext|>")
    return base_config(-(-len(tokenizer) // 64) * 64, *tokenizer.convert_tokens_to_ids(list(names)))


Batch = tuple[Screens, Prompts, np.ndarray, np.ndarray, np.ndarray]
"""Screens, prompts, text ids [B, 1, C], which of them there are, which of them are learned."""


def step_batch(tokenizer: PreTrainedTokenizerBase, config: PolicyConfig, run: Pretraining, step: int) -> Batch:
    """The batch of a step: each step's documents have a seed of their own, so that a resumed run goes on with the next."""
    chosen = itertools.islice(documents(run.seed * 1_000_003 + step, run.size), run.batch)
    return assemble(tokenizer, config, list(chosen))


def assemble(tokenizer: PreTrainedTokenizerBase, config: PolicyConfig, chosen: list[Document]) -> Batch:
    prompts = []
    ids = np.zeros((len(chosen), 1, TEXT_LENGTH), np.int32)
    there, learned = np.zeros(ids.shape, bool), np.zeros(ids.shape, bool)
    for row, document in enumerate(chosen):
        past = (
            [Past(Screenshot(document.earlier[0]), response_ids(tokenizer, document.earlier[1]))]
            if document.earlier
            else []
        )
        prompts.append(build_prompt(tokenizer, document.system, past, Screenshot(document.png), RESIZING))
        pieces = [(token, asked) for text, asked in document.text for token in encode(tokenizer, text)][:TEXT_LENGTH]
        ids[row, 0, : len(pieces)] = [token for token, _ in pieces]
        there[row, 0, : len(pieces)] = True
        learned[row, 0, : len(pieces)] = [asked for _, asked in pieces]
    most = 2 * len(chosen)
    screens, prompts = collate(
        prompts,
        patches,
        config=config.vision,
        prompt_buckets=(PROMPT_LENGTH,),
        screen_buckets=(most * 3 // 4, most * 7 // 8, most),
        window_buckets=(2,),
    )
    return screens, prompts, ids, there, learned


def schedule(run: Pretraining) -> optax.Schedule:
    falling = int(run.steps * run.cooldown)
    return optax.join_schedules(
        [
            optax.linear_schedule(0.0, run.learning_rate, run.warmup),
            optax.constant_schedule(run.learning_rate),
            optax.linear_schedule(run.learning_rate, 0.0, falling),
        ],
        [run.warmup, run.steps - falling],
    )


def optimizer(run: Pretraining) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule(run), b2=0.98, weight_decay=0.01))


@functools.partial(jax.jit, static_argnames=("graph", "update"), donate_argnames=("params", "moments"))
def train_step(
    graph: nnx.GraphDef, update: optax.TransformUpdateFn, params: nnx.State, moments: optax.OptState, batch: Batch
):  # noqa: ANN201
    """One step: (params, optimizer state, mean loss in nats per token)."""
    screens, prompts, ids, there, learned = batch

    def loss(params: nnx.State) -> jax.Array:
        policy = nnx.merge(graph, params)
        logps, _ = token_logps(policy, policy.completion_hidden(screens, prompts, ids, there), ids)
        return -jnp.sum(logps * learned) / jnp.sum(learned)

    value, gradients = jax.value_and_grad(loss)(params)
    updates, moments = update(gradients, moments, params)
    return optax.apply_updates(params, updates), moments, value


@functools.partial(jax.jit, static_argnames=("graph",))
def rightly_predicted(graph: nnx.GraphDef, params: nnx.State, batch: Batch) -> jax.Array:
    """[B, 1, C] bool: which tokens of the text are the policy's most likely ones, given those before."""
    screens, prompts, ids, there, learned = batch
    policy = nnx.merge(graph, params)
    return (policy.text.logits(policy.completion_hidden(screens, prompts, ids, there)).argmax(-1) == ids) & learned


def pointing(
    tokenizer: PreTrainedTokenizerBase,
    config: PolicyConfig,
    graph: nnx.GraphDef,
    params: nnx.State,
    run: Pretraining,
    count: int,
) -> float:
    """Share of `count` names, each asked for on a screen never trained on, whose position the policy gives exactly."""
    right = []
    stream = documents(-1 - run.seed, run.size)
    while len(right) < count:
        asked = [
            dataclasses.replace(document, text=document.text[:2])
            for document in itertools.islice(stream, 2 * run.batch)
            if "Find: " in document.system and document.text[1][0] != "none\n"
        ]
        asked = (asked * run.batch)[: run.batch]
        batch = assemble(tokenizer, config, asked)
        good = np.asarray(rightly_predicted(graph, params, batch))
        right += [bool(row[0, 2:5].all()) for row in good]  # after the name and ": " come x, ", " and y
    return float(np.mean(right[:count]))


def pretrain(run: Pretraining, folder: Path) -> Policy:
    """Trains from the newest checkpoint under `folder` (or from random weights) to the end; returns the policy.

    Leaves `folder`/checkpoints (Orbax) and `folder`/metrics.jsonl, one line every 50 steps with the loss and the seconds spent.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(train_tokenizer(), folder / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    config = config_for(tokenizer)
    graph, params = nnx.split(Policy(config, rngs=nnx.Rngs(run.seed)))
    update = optimizer(run)
    moments = update.init(params)
    manager = ocp.CheckpointManager(
        (folder / "checkpoints").absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=2)
    )
    first = manager.latest_step() or 0
    if first:
        params, moments = manager.restore(first, args=ocp.args.StandardRestore((params, moments)))
    steps = grain.MapDataset.range(first, run.steps).map(lambda step: step_batch(tokenizer, config, run, int(step)))
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)
    with open(folder / "metrics.jsonl", "a") as metrics:
        began, losses = time.time(), []
        for step, batch in enumerate(steps.to_iter_dataset(options), first + 1):
            params, moments, loss = train_step(graph, update.update, params, moments, batch)
            losses.append(loss)
            if step % 50 == 0:
                row = {"step": step, "loss": float(np.mean(jax.device_get(losses))), "seconds": time.time() - began}
                if step % run.save_every == 0:
                    row["pointing"] = pointing(tokenizer, config, graph, params, run, 256)
                    manager.save(step, args=ocp.args.StandardSave((params, moments)))
                print(json.dumps(row), file=metrics, flush=True)
                began, losses = time.time(), []
    manager.save(run.steps, args=ocp.args.StandardSave((params, moments)), force=True)
    manager.wait_until_finished()
    return nnx.merge(graph, params)
