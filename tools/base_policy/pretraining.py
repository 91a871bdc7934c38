"""Pretraining of the small base policy: next-token prediction on documents about screens, with resume."""

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

RESIZING = Resizing(scale=1.0)  # the demo's screens are small already
PROMPT_LENGTH, TEXT_LENGTH = 176, 176
RECITAL_LENGTH = 24  # answer tokens of a recital, a document without screens
ROW_EVERY = 50  # steps between rows of metrics
SEEDS = 1_000_003  # document seeds of a run: one per step; the last one for screens outside training


@dataclass(frozen=True)
class Pretraining:
    """A pretraining run. Sizes are (width, height) in pixels."""

    steps: int = 12_000
    batch: int = 16  # documents with screens per step
    recitals: int = 48  # documents without screens per step
    learning_rate: float = 2e-3
    warmup: int = 300
    cooldown: float = 0.2  # share of the steps over which the learning rate falls to zero
    seed: int = 0
    size: tuple[int, int] = (112, 224)
    save_every: int = 500
    start: Path | None = None  # initial weights, a checkpoint in Hugging Face format; None: random


def base_config(
    vocabulary: int, image_token: int, video_token: int, vision_start: int, vision_end: int, stop: int, pad: int
) -> PolicyConfig:
    """Qwen2.5-VL's structure with two million parameters. Narrow heads would be slow on a CPU."""
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
    """Return `base_config` with the tokenizer's ids, and the vocabulary rounded up to a multiple of 64."""
    names = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|im_end|>", "<|endoftext|>")
    return base_config(-(-len(tokenizer) // 64) * 64, *tokenizer.convert_tokens_to_ids(list(names)))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DocumentBatch:
    """A batch of documents, one completion each: screens, prompts, text, and the elements on the screens."""

    screens: Screens
    prompts: Prompts
    ids: np.ndarray  # [B, 1, C] int32: the text after the screen
    there: np.ndarray  # [B, 1, C] bool: not padding
    learned: np.ndarray  # [B, 1, C] bool: answers, which are trained
    # [R * W * 16, 3] int32: for the element at each merged token of the screens, the first token of its text and the
    # tokens of its center's x and y; -1 for no element
    cells: np.ndarray


def step_batch(
    tokenizer: PreTrainedTokenizerBase, config: PolicyConfig, run: Pretraining, step: int
) -> tuple[DocumentBatch, DocumentBatch]:
    """Return the batches of a step, with screens and without. The step gives their seed, so that a run can resume."""
    chosen = itertools.islice(documents(run.seed * SEEDS + step, run.size), run.batch)
    recital = recite(tokenizer, config, run.seed * SEEDS + step, run.recitals)
    return assemble(tokenizer, config, list(chosen)), recital


def assemble(tokenizer: PreTrainedTokenizerBase, config: PolicyConfig, chosen: list[Document]) -> DocumentBatch:
    prompts = []
    ids = np.zeros((len(chosen), 1, TEXT_LENGTH), np.int32)
    there, learned = np.zeros(ids.shape, bool), np.zeros(ids.shape, bool)
    cells: dict[str, tuple[Cell, ...]] = {}  # by the screenshot's hash
    for row, document in enumerate(chosen):
        past = []
        if document.earlier:
            before, text = document.earlier
            past = [PastTurn(Screenshot(before.png), response_ids(tokenizer, text))]
            cells.setdefault(past[0].screenshot.sha, before.cells)
        now = Screenshot(document.look.png)
        cells.setdefault(now.sha, document.look.cells)
        prompts.append(build_prompt(tokenizer, document.system, past, now, RESIZING))
        pieces = [(token, answer) for text, answer in document.text for token in encode(tokenizer, text)][:TEXT_LENGTH]
        ids[row, 0, : len(pieces)] = [token for token, _ in pieces]
        there[row, 0, : len(pieces)] = True
        learned[row, 0, : len(pieces)] = [answer for _, answer in pieces]
    most = 2 * len(chosen)
    screens, arrays = collate(
        prompts,
        patches,
        config=config.vision,
        prompt_buckets=(PROMPT_LENGTH,),
        screen_buckets=(most * 3 // 4, most * 7 // 8, most),
        window_buckets=(2,),
    )
    elements = np.full((screens.window.size // config.vision.merge**2, 3), -1, np.int32)
    for prompt, index in zip(prompts, arrays.image_index, strict=True):
        covered = [cell for screenshot in prompt.screenshots for cell in cells[screenshot.sha]]
        elements[index[index >= 0]] = [cell_tokens(tokenizer, cell) for cell in covered]
    return DocumentBatch(screens, arrays, ids, there, learned, elements)


def recite(tokenizer: PreTrainedTokenizerBase, config: PolicyConfig, seed: int, count: int) -> DocumentBatch:
    """Return a batch without screens, whose text repeats parts of the system text."""
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
        answer = encode(tokenizer, text)[:RECITAL_LENGTH]
        ids[row, 0, : len(answer)], there[row, 0, : len(answer)] = answer, True
    screens, arrays = collate(
        prompts,
        patches,
        config=config.vision,
        prompt_buckets=(2 * RECITAL_LENGTH + 8,),
        screen_buckets=(0,),
        window_buckets=(0,),
    )
    return DocumentBatch(screens, arrays, ids, there, there, np.full((0, 3), -1, np.int32))


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


@functools.cache  # one object per run: it is a static argument of the compiled step
def optimizer(run: Pretraining) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule(run), b2=0.98, weight_decay=0.01))


def losses(policy: Policy, batch: DocumentBatch, recital: DocumentBatch) -> dict[str, jax.Array]:
    """Return mean losses in nats, of the text and of the screen tokens from the vision tower.

    Each screen token predicts the element there: its name and the x and y of its center. The three share one
    distribution, so the best mean of the three losses is ln 3.
    """
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
    batch: DocumentBatch,
    recital: DocumentBatch,
) -> tuple[nnx.State, optax.OptState, dict[str, jax.Array]]:
    """Run one step. Return (params, optimizer state, mean losses in nats)."""

    def loss(params: nnx.State) -> tuple[jax.Array, dict[str, jax.Array]]:
        each = losses(nnx.merge(graph, params), batch, recital)
        return sum(each.values()), each

    gradients, each = jax.grad(loss, has_aux=True)(params)
    updates, moments = update(gradients, moments, params)
    return optax.apply_updates(params, updates), moments, each


@functools.partial(jax.jit, static_argnames=("graph",))
def correct_tokens(graph: nnx.GraphDef, params: nnx.State, batch: DocumentBatch) -> jax.Array:
    """Return [B, 1, C] bool: the trained tokens that are the policy's most likely ones, given those before."""
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
    """Return the share of `count` names on untrained screens whose position the policy predicts exactly."""
    correct: list[bool] = []
    asked = (
        dataclasses.replace(document, text=[(name, False), (between, False), (at, True)])
        for document in documents((run.seed + 1) * SEEDS - 1, run.size)
        for (name, _), (between, _), (at, _) in [document.text[:3]]
        if at != "none\n" and name not in SECTIONS
    )
    while len(correct) < count:
        batch = assemble(tokenizer, config, list(itertools.islice(asked, run.batch)))
        good = np.asarray(correct_tokens(graph, params, batch))
        correct += (good == batch.learned).all(axis=(1, 2)).tolist()  # trained tokens: x, ", ", y and the line break
    return float(np.mean(correct[:count]))


def pretrain(run: Pretraining, folder: Path) -> Policy:
    """Train from the newest checkpoint under `folder`, or from the start, to the end. Return the policy.

    Writes `folder`/checkpoints (Orbax) and `folder`/metrics.jsonl: a row every 50 steps and at every checkpoint, with
    the mean losses and the seconds since the last row. Rows at checkpoints also have the result of `pointing`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "tokenizer").exists():  # a resumed run keeps its tokenizer
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
