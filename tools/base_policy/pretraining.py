"""Pretraining of the small base policy: next-token prediction on documents about screens, resumable at any step."""

import dataclasses
import functools
import itertools
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

from mobile_r1_jax.agent.prompts import PastTurn, Prompt, build_prompt, chat_tokens, encode, response_ids
from mobile_r1_jax.agent.screenshots import Resizing, Screenshot, patches
from mobile_r1_jax.model.checkpoints.huggingface import load_policy
from mobile_r1_jax.model.config import PolicyConfig, TextConfig, VisionConfig
from mobile_r1_jax.model.inputs import EncodedScreens, Prompts, Screens, collate
from mobile_r1_jax.model.logps import token_logps
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.training.metrics import MetricsLog
from tools.base_policy.documents import SECTIONS, Cell, Document, documents, recitals
from tools.base_policy.tokenizer import save_tokenizer, train_tokenizer

RESIZING = Resizing(scale=1.0)  # the demo's screens are small enough as they are
PROMPT_LENGTH, TEXT_LENGTH = 176, 176
RECITAL_LENGTH = 24  # tokens said in a recital, a document without screens
ROW_EVERY = 50  # steps between rows of metrics
SEEDS = 1_000_003  # seeds of documents that a run has: one for each step, the last for screens never trained on


@dataclass(frozen=True)
class Pretraining:
    """A pretraining run. Sizes are (width, height) in pixels."""

    steps: int = 12_000
    batch: int = 16  # documents with a screen
    recitals: int = 48  # documents without one
    learning_rate: float = 2e-3
    warmup: int = 300
    cooldown: float = 0.2  # share of the steps over which the learning rate falls to zero
    seed: int = 0
    size: tuple[int, int] = (112, 224)
    save_every: int = 500
    start: Path | None = None  # weights to begin with, a checkpoint in Hugging Face format; None: random ones


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
            kv_heads=2,
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


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Reading:
    """A batch of documents, one completion each: what is shown, what is said, what covers each cell of the screens."""

    screens: Screens
    prompts: Prompts
    ids: np.ndarray  # [B, 1, C] int32: the text after the screen
    there: np.ndarray  # [B, 1, C] bool: not padding
    learned: np.ndarray  # [B, 1, C] bool: can be told from the screen
    cells: (
        np.ndarray
    )  # [R * W * 16, 3] int32: of what covers each merged token of the screens the first token of its name and the
    # tokens of its centre's x and y; -1 for nothing


def step_batch(
    tokenizer: PreTrainedTokenizerBase, config: PolicyConfig, run: Pretraining, step: int
) -> tuple[Reading, Reading]:
    """The batch of a step. Its documents have a seed of their own, so that a resumed run goes on with the next."""
    chosen = itertools.islice(documents(run.seed * SEEDS + step, run.size), run.batch)
    recital = recite(tokenizer, config, run.seed * SEEDS + step, run.recitals)
    return assemble(tokenizer, config, list(chosen)), recital


def assemble(tokenizer: PreTrainedTokenizerBase, config: PolicyConfig, chosen: list[Document]) -> Reading:
    prompts = []
    ids = np.zeros((len(chosen), 1, TEXT_LENGTH), np.int32)
    there, learned = np.zeros(ids.shape, bool), np.zeros(ids.shape, bool)
    cells: dict[str, tuple[Cell, ...]] = {}  # by the screenshot's hash
    for row, document in enumerate(chosen):
        past = []
        if document.earlier:
            before, said = document.earlier
            past = [PastTurn(Screenshot(before.png), response_ids(tokenizer, said))]
            cells.setdefault(past[0].screenshot.sha, before.cells)
        now = Screenshot(document.look.png)
        cells.setdefault(now.sha, document.look.cells)
        prompts.append(build_prompt(tokenizer, document.system, past, now, RESIZING))
        pieces = [(token, asked) for text, asked in document.text for token in encode(tokenizer, text)][:TEXT_LENGTH]
        ids[row, 0, : len(pieces)] = [token for token, _ in pieces]
        there[row, 0, : len(pieces)] = True
        learned[row, 0, : len(pieces)] = [asked for _, asked in pieces]
    most = 2 * len(chosen)
    screens, arrays = collate(
        prompts,
        patches,
        config=config.vision,
        prompt_buckets=(PROMPT_LENGTH,),
        screen_buckets=(most * 3 // 4, most * 7 // 8, most),
        window_buckets=(2,),
    )
    told = np.full((screens.window.size // config.vision.merge**2, 3), -1, np.int32)
    for prompt, index in zip(prompts, arrays.image_index, strict=True):
        covered = [cell for screenshot in prompt.screenshots for cell in cells[screenshot.sha]]
        told[index[index >= 0]] = [cell_tokens(tokenizer, cell) for cell in covered]
    return Reading(screens, arrays, ids, there, learned, told)


def recite(tokenizer: PreTrainedTokenizerBase, config: PolicyConfig, seed: int, count: int) -> Reading:
    """A batch without screens: what the system text says, to be said again."""
    special = chat_tokens(tokenizer)
    line = encode(tokenizer, "\n")
    prompts = []
    ids = np.zeros((count, 1, RECITAL_LENGTH), np.int32)
    there = np.zeros(ids.shape, bool)
    for row, (system, text) in enumerate(recitals(seed, count)):
        opening = (special.im_start, *encode(tokenizer, f"system\n{system}"), special.im_end, *line)
        prompt = np.array((*opening, special.im_start, *encode(tokenizer, "assistant\n")), np.int32)
        positions = np.tile(np.arange(len(prompt), dtype=np.int32), (3, 1))
        prompts.append(Prompt(prompt, positions, np.full(len(prompt), -1, np.int32), (), ()))
        said = encode(tokenizer, text)[:RECITAL_LENGTH]
        ids[row, 0, : len(said)], there[row, 0, : len(said)] = said, True
    screens, arrays = collate(
        prompts,
        patches,
        config=config.vision,
        prompt_buckets=(2 * RECITAL_LENGTH + 8,),
        screen_buckets=(0,),
        window_buckets=(0,),
    )
    return Reading(screens, arrays, ids, there, there, np.full((0, 3), -1, np.int32))


def cell_tokens(tokenizer: PreTrainedTokenizerBase, cell: Cell) -> list[int]:
    return [encode(tokenizer, text)[0] for text in (cell[0], *map(str, cell[1]))] if cell else [-1, -1, -1]


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


@functools.cache  # one object for one run: the compiled step is keyed by it
def optimizer(run: Pretraining) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule(run), b2=0.98, weight_decay=0.01))


def losses(policy: Policy, batch: Reading, recital: Reading) -> dict[str, jax.Array]:
    """Mean losses in nats: of the text, and of each screen token as the vision tower gives it.

    Such a token is to look like the words for what is there: its name, and the numbers of its centre (three equal
    shares, so ln 3 at best for each)."""
    seen = policy.encode_screens(batch.screens)
    hidden = policy.completion_hidden(EncodedScreens(seen[None]), batch.prompts, batch.ids, batch.there)
    again = policy.completion_hidden(recital.screens, recital.prompts, recital.ids, recital.there)
    each = {
        "text": mean_nll(policy, hidden, batch.ids, batch.learned),
        "recital": mean_nll(policy, again, recital.ids, recital.learned),
    }
    for what, name in enumerate(("names", "xs", "ys")):
        each[name] = mean_nll(policy, seen, batch.cells[..., what], batch.cells[..., what] >= 0)
    return each


def mean_nll(policy: Policy, hidden: jax.Array, ids: jax.Array, counted: jax.Array) -> jax.Array:
    logps, _ = token_logps(policy, hidden, jnp.maximum(ids, 0))
    return -jnp.sum(logps * counted) / jnp.maximum(jnp.sum(counted), 1)


@functools.partial(jax.jit, static_argnames=("graph", "update"), donate_argnames=("params", "moments"))
def train_step(
    graph: nnx.GraphDef,
    update: optax.TransformUpdateFn,
    params: nnx.State,
    moments: optax.OptState,
    batch: Reading,
    recital: Reading,
) -> tuple[nnx.State, optax.OptState, dict[str, jax.Array]]:
    """One step: (params, optimizer state, mean losses in nats)."""

    def loss(params: nnx.State) -> tuple[jax.Array, dict[str, jax.Array]]:
        each = losses(nnx.merge(graph, params), batch, recital)
        return sum(each.values()), each

    gradients, each = jax.grad(loss, has_aux=True)(params)
    updates, moments = update(gradients, moments, params)
    return optax.apply_updates(params, updates), moments, each


@functools.partial(jax.jit, static_argnames=("graph",))
def rightly_predicted(graph: nnx.GraphDef, params: nnx.State, batch: Reading) -> jax.Array:
    """[B, 1, C] bool: which tokens of the text are the policy's most likely ones, given those before."""
    policy = nnx.merge(graph, params)
    hidden = policy.completion_hidden(batch.screens, batch.prompts, batch.ids, batch.there)
    return (policy.text.logits(hidden).argmax(-1) == batch.ids) & batch.learned


def pointing(
    tokenizer: PreTrainedTokenizerBase,
    config: PolicyConfig,
    graph: nnx.GraphDef,
    params: nnx.State,
    run: Pretraining,
    count: int,
) -> float:
    """Share of `count` names, each asked for on a screen never trained on, whose position the policy gives exactly."""
    right: list[bool] = []
    asked = (
        dataclasses.replace(document, text=[(name, False), (between, False), (at, True)])
        for document in documents((run.seed + 1) * SEEDS - 1, run.size)
        for (name, _), (between, _), (at, _) in [document.text[:3]]
        if at != "none\n" and name not in SECTIONS
    )
    while len(right) < count:
        batch = assemble(tokenizer, config, list(itertools.islice(asked, run.batch)))
        good = np.asarray(rightly_predicted(graph, params, batch))
        right += (good == batch.learned).all(axis=(1, 2)).tolist()  # learned are x, ", ", y and the line break
    return float(np.mean(right[:count]))


def pretrain(run: Pretraining, folder: Path) -> Policy:
    """Trains from the newest checkpoint under `folder` (or from random weights) to the end; returns the policy.

    Leaves `folder`/checkpoints (Orbax) and `folder`/metrics.jsonl: a row every 50 steps and at every checkpoint, with
    the mean losses since the last row and the seconds spent, at a checkpoint also how well the policy points.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "tokenizer").exists():  # a run that goes on keeps the tokenizer that it began with
        if run.start:
            AutoTokenizer.from_pretrained(run.start).save_pretrained(folder / "tokenizer")
        else:
            save_tokenizer(train_tokenizer(), folder / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    config = config_for(tokenizer)
    graph, params = nnx.split(load_policy(run.start) if run.start else Policy(config, rngs=nnx.Rngs(run.seed)))
    update = optimizer(run)
    moments = update.init(params)
    options = ocp.CheckpointManagerOptions(max_to_keep=2)
    with ocp.CheckpointManager((folder / "checkpoints").absolute(), options=options) as manager:
        first = manager.latest_step() or 0
        if first:
            params, moments = manager.restore(first, args=ocp.args.StandardRestore((params, moments)))
        steps = grain.MapDataset.range(first, run.steps).map(lambda step: step_batch(tokenizer, config, run, int(step)))
        batches = steps.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4))
        log = MetricsLog(folder, "pretraining", after_step=first)
        began, spent = time.time(), []
        for step, batch in enumerate(batches, first + 1):
            params, moments, each = train_step(graph, update.update, params, moments, *batch)
            spent.append(jax.device_get(each))
            save = step % run.save_every == 0 or step == run.steps
            if save or step % ROW_EVERY == 0:
                row = {name: float(np.mean([one[name] for one in spent])) for name in spent[0]}
                row["seconds"] = time.time() - began
                if save:
                    row["pointing"] = pointing(tokenizer, config, graph, params, run, 256)
                    manager.save(step, args=ocp.args.StandardSave((params, moments)))
                log.write(step, row)
                began, spent = time.time(), []
    return nnx.merge(graph, params)
