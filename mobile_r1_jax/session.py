"""The session of a command: mesh, policy, tokenizer and tasks, opened once and checked before expensive work.

Training runs on the mesh of all hosts. Each host samples on its own devices, the sampling mesh, and makes its own rows
of every batch. On one host both meshes are the same.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec
from rich.console import Console

from mobile_r1_jax.agent.completion import PromptGroup
from mobile_r1_jax.agent.prompts import EFFECT_TOKENS, PastTurn, Prompt, PromptFormat, encode, system_text, with_tools
from mobile_r1_jax.agent.screenshots import blank_screenshot, patches
from mobile_r1_jax.config import ConfigError, Run
from mobile_r1_jax.model.checkpoints.huggingface import load_policy
from mobile_r1_jax.model.config import PolicyConfig, VisionConfig
from mobile_r1_jax.model.decode_layout import sampling_copy
from mobile_r1_jax.model.host_replica import check_hosts, host_replica, sampling_mesh
from mobile_r1_jax.model.inputs import (
    EncodedScreens,
    Prompts,
    Screens,
    collate,
    distinct_screens,
    stack_prompts,
)
from mobile_r1_jax.model.layers import ROWS
from mobile_r1_jax.model.lora import with_adapters
from mobile_r1_jax.model.packing import Size, blocks_of, smallest_bucket, smallest_shape
from mobile_r1_jax.model.policy import Policy, to_compute_dtype
from mobile_r1_jax.model.sharding import make_mesh, mesh_name, row_shards, shard_batch, shard_policy
from mobile_r1_jax.model.tokenizer import load_tokenizer
from mobile_r1_jax.model.vision import VisionTower
from mobile_r1_jax.phones.providers import open_tasks
from mobile_r1_jax.runtime.compilation_cache import enable_compilation_cache
from mobile_r1_jax.runtime.console import say
from mobile_r1_jax.runtime.hosts import Hosts
from mobile_r1_jax.sampling.engine import Engine
from mobile_r1_jax.sampling.sampler import Sampling
from mobile_r1_jax.sampling.screen_cache import ScreenCache
from mobile_r1_jax.tasks.suite import Split, TaskSuite
from mobile_r1_jax.training.batches import micro_batches
from mobile_r1_jax.training.global_batches import Common, Needs, global_batches
from mobile_r1_jax.training.step import Batch

PROMPT_BLOCK = 128  # prompt buckets that fit an episode are a multiple of it
PROMPT_SCREENSHOTS = 2  # the largest number of screenshots in a prompt


@dataclass(frozen=True)
class Session:
    """The session of a run.

    config: of the policy. tasks: the suite of its episodes. mesh: of the policy's shards, over all hosts. hosts: the
    processes of the run.
    """

    run: Run
    config: PolicyConfig
    prompt_format: PromptFormat
    tasks: TaskSuite
    mesh: Mesh
    console: Console
    hosts: Hosts = field(default_factory=Hosts)
    # the last one, with its tower, by the arrays of the tower
    _caches: dict[tuple[int, ...], tuple[ScreenCache, VisionTower]] = field(default_factory=dict)

    @property
    def sampling_mesh(self) -> Mesh:
        """Return the mesh of this host's own devices; on one host, the mesh of the policy."""
        return sampling_mesh(self.mesh)

    def on_own_devices(self) -> AbstractContextManager[None]:
        """Return a context for programs of this host alone, inside `computing_on(self.mesh)`."""
        return nullcontext() if self.hosts.count == 1 else jax.set_mesh(self.sampling_mesh)

    @property
    def forbidden(self) -> tuple[int, ...]:
        """Return the tokens that are never sampled: image and video tokens, and the unused end of the vocabulary."""
        config, words = self.config, len(self.prompt_format.tokenizer)
        return (
            config.image_token,
            config.video_token,
            config.vision_start,
            config.vision_end,
            *range(words, config.text.vocab),
        )

    def sampling(self, temperature: float) -> Sampling:
        """Return the sampling settings of the run at a temperature."""
        return Sampling(
            max_tokens=self.run.shapes.response_tokens,
            temperature=temperature,
            stop_ids=self.config.eos,
            forbidden_ids=self.forbidden,
            top_p=self.run.top_p,
            top_k=self.run.top_k,
        )

    def key(self, *purpose: int) -> jax.Array:
        """Return the run's PRNG key, folded with the numbers of its purpose."""
        key = jax.random.key(self.run.seed)
        for number in purpose:
            key = jax.random.fold_in(key, number)
        return key

    def screen_cache(self, policy: Policy) -> ScreenCache:
        """Return the screen cache of a policy whose vision tower is frozen.

        All stages and evaluations with the same tower share one cache, as they meet the same screens again."""
        tower = tuple(map(id, jax.tree.leaves(policy.vision)))  # the arrays are kept, so ids stay unique
        if tower not in self._caches:
            self._caches.clear()
            cache = ScreenCache(
                host_replica(policy.vision, self.mesh),
                patches,
                self.config.vision,
                windows=self.run.shapes.windows,
                rows=cached_rows(self.run, self.sampling_mesh, self.hosts.count),
                tokens=most_tokens(self.run, self.config.vision),
                place=lambda screens: shard_batch(screens, self.sampling_mesh),
            )
            self._caches[tower] = cache, policy.vision
        return self._caches[tower][0]

    @contextmanager
    def sampler(self, policy: Policy) -> Iterator[Policy]:
        """Yield a copy of the policy for sampling on this host's devices. All hosts call it together."""
        if self.hosts.count == 1:
            yield sampling_copy(policy)
        else:
            own = host_replica(to_compute_dtype(policy), self.mesh)
            with self.on_own_devices():
                yield sampling_copy(own)

    def engine(self, policy: Policy, temperature: float, cache: ScreenCache) -> Engine:
        """Return the sampling engine that answers the phones."""
        return Engine(
            policy,
            lambda prompts, rows: self.collate(prompts, rows, cache),
            self.sampling(temperature),
            self.run.slots // self.hosts.count,
            prompt_buckets=self.run.shapes.prompt_tokens,
            prefill_rows=(row_shards(self.sampling_mesh),),  # few programs; every device computes a row
            keep_keys=self.run.shapes.keep_keys,
            sharding=NamedSharding(self.sampling_mesh, PartitionSpec(ROWS)),
        )

    def collate(
        self, prompts: Sequence[Prompt], rows: int, cache: ScreenCache | None
    ) -> tuple[Screens | EncodedScreens, Prompts]:
        """Return up to `rows` prompts as arrays of `rows` rows, on the sampling mesh; with a cache, encoded screens.

        Raise ValueError when a prompt is too long for every bucket."""
        return shard_batch(self._collate(prompts, rows, cache), self.sampling_mesh)

    def _collate(
        self, prompts: Sequence[Prompt], rows: int, cache: ScreenCache | None, common: Common | None = None
    ) -> tuple[Screens | EncodedScreens, Prompts]:
        """Return the arrays of `collate` on the host. common: the shape that the batch has on all hosts."""
        shapes, config, mesh = self.run.shapes, self.config.vision, self.sampling_mesh
        buckets = shapes.prompt_tokens if common is None else (common.prompt_tokens,)
        if cache is None:
            shape = None if common is None else common.screens
            return collate(
                prompts,
                patches,
                config=config,
                prompt_buckets=buckets,
                screen_buckets=screen_rows(rows, mesh) if shape is None else (shape.rows,),
                window_buckets=shapes.windows if shape is None else (shape.blocks,),
                row_buckets=(rows,),
            )
        with self.on_own_devices():
            screens, places = cache(distinct_screens(prompts), screens=PROMPT_SCREENSHOTS * rows)
        return screens, stack_prompts(prompts, places, rows=rows, prompt_buckets=buckets)

    def batches(self, groups: Sequence[PromptGroup], rows: int, group: int, cache: ScreenCache | None) -> list[Batch]:
        """Return `micro_batches` of this host's groups in the run's shapes, on the mesh. All hosts call it together.

        rows: of a batch over all hosts."""
        tokens = self.run.shapes.response_tokens
        if self.hosts.count == 1:
            collate = partial(self.collate, cache=cache)
            return micro_batches(collate, groups, rows=rows, group=group, tokens=tokens, mesh=self.mesh)
        own_rows = rows // self.hosts.count
        return global_batches(
            lambda prompts, common: self._collate(prompts, own_rows, cache, common),
            groups,
            rows=own_rows,
            group=group,
            tokens=tokens,
            mesh=self.mesh,
            vision=self.config.vision,
            dtype=jnp.dtype(self.run.precision.compute),
            common=lambda needs: self._common(needs, own_rows, cache),
            gather=lambda needs: self.hosts.gather("batches", needs),
        )

    def _common(self, needs: Sequence[Needs], rows: int, cache: ScreenCache | None) -> Common:
        """Return the smallest shape that holds a batch of `rows` rows of every host."""
        shapes, vision = self.run.shapes, self.config.vision
        longest = max(need.prompt_tokens for need in needs)
        screens = None
        if cache is None:
            screens = smallest_shape(
                *(need.sizes for need in needs),
                config=vision,
                row_buckets=screen_rows(rows, self.sampling_mesh),
                block_buckets=shapes.windows,
            )
        tokens = smallest_bucket(longest, shapes.prompt_tokens, "tokens in a prompt")
        return Common(tokens, screens, any(need.truncated for need in needs))


def round_to_mesh(run: Run, mesh: Mesh | AbstractMesh) -> Run:
    """Return the run with micro-batches and slots rounded up to a multiple that the mesh divides."""

    def round_up(rows: int) -> int:
        return rows + -rows % row_shards(mesh)

    stages = {name: settings for name, settings in vars(run).items() if hasattr(settings, "micro_batch")}
    return replace(
        run,
        shapes=replace(run.shapes, slots=round_up(run.slots)),
        **{name: replace(stage, micro_batch=round_up(stage.micro_batch)) for name, stage in stages.items()},
    )


def most_tokens(run: Run, vision: VisionConfig) -> int:
    """Return the largest number of merged tokens of a screen: limited by a row of screens and by the resizing."""
    return min(max(run.shapes.windows) * vision.window_tokens, run.resizing.max_pixels // run.resizing.factor**2)


def cached_rows(run: Run, mesh: Mesh | AbstractMesh, hosts: int = 1) -> tuple[int, ...]:
    """Return the numbers of rows of screens that one of the hosts, on `mesh`, encodes at once with a frozen tower.

    The next turn of a phone has one new screen; a batch of golden steps has many."""
    shards = row_shards(mesh)
    most = run.shapes.screens if hosts == 1 else max(shards, run.shapes.screens // hosts)
    return tuple(sorted({min(most, shards * max(1, rows // shards)) for rows in (1, most // 4, most)}))


def screen_rows(rows: int, mesh: Mesh | AbstractMesh) -> tuple[int, ...]:
    """Return the numbers of rows of screens for `rows` prompts with a trained tower: quarters of a row per screen."""
    most, shards = PROMPT_SCREENSHOTS * rows, row_shards(mesh)
    return tuple(sorted({min(most, shards * -(-most * quarters // (4 * shards))) for quarters in range(1, 5)}))


def open_session(
    run: Run,
    console: Console,
    fit: Callable[[Session], Session] = lambda session: session,
    tasks: TaskSuite | None = None,
    hosts: Hosts | None = None,
) -> tuple[Session, Policy]:
    """Return the session of a run and the policy that the run begins with. Raise ConfigError in one line.

    fit: changes the shapes of the session before they are checked. tasks: None: those that the run names. hosts: the
    processes of the run; None: this one alone."""
    try:
        tasks = tasks or open_tasks(run.tasks, run.phones)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    try:
        tokenizer = load_tokenizer(run.policy, run.policy_base)
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(f"policy: {error}") from error
    enable_compilation_cache(run.compiled)
    try:
        mesh = make_mesh(run.mesh)
        check_hosts(mesh)
        run = round_to_mesh(run, mesh)
        policy = load_policy(
            run.policy,
            jnp.dtype(run.precision.compute),
            base=run.policy_base,
            param_dtype=jnp.dtype(run.weights),
            remat=run.precision.remat,
            mesh=mesh,
        )
        if run.lora is not None:
            key = jax.random.fold_in(jax.random.key(run.seed), 0)  # the stages fold in their numbers, from 1
            policy = shard_policy(with_adapters(policy, run.lora, key=key), mesh)
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(str(error)) from error
    if run.answer:
        run = replace(run, system=with_tools(run.system, run.actions))
    prompt_format = PromptFormat(tokenizer, run.system, run.resizing, run.actions, run.tell_effects)
    check_texts(prompt_format, instructions_of(tasks))
    session = fit(Session(run, policy.config, prompt_format, tasks, mesh, console, hosts or Hosts()))
    if "simulated" in run.phones.source:
        check_lengths(session, [run.phones.simulated.size])
    size = sum(array.size for array in jax.tree.leaves(policy)) / 1e6
    learn = sum(array.size for array in jax.tree.leaves(nnx.state(policy, nnx.LoRAParam))) / 1e6
    adapters = f", {learn:.1f} M of them in adapters" if run.lora is not None else ""
    devices = f"{len(jax.devices())} {jax.default_backend()} device(s), mesh {mesh_name(*mesh.shape.values())}"
    say(console, f"policy: {run.policy}, {size:.1f} M parameters{adapters}; {devices}")
    return session, policy


def instructions_of(tasks: TaskSuite) -> set[str]:
    """Return every instruction of a suite."""
    return {text for split in Split for text in tasks.instructions(split)}


def check_texts(prompt_format: PromptFormat, instructions: Iterable[str]) -> None:
    """Raise ConfigError when the system message or an instruction contains a special token of the tokenizer."""
    texts = {"system": prompt_format.system} | {f"the instruction {text!r}": text for text in sorted(instructions)}
    for name, text in texts.items():
        try:
            encode(prompt_format.tokenizer, text)
        except ValueError as error:
            raise ConfigError(f"{name}: {error}") from error


def check_lengths(session: Session, sizes: Iterable[Size]) -> None:
    """Raise ConfigError when screens of phones, (width, height) in device pixels, or the prompts of an episode on them
    are too large for the run's shapes."""
    run = session.run
    for size in sorted(set(sizes)):
        try:
            check_screen(run, session.config.vision, run.resizing.model_size(*size))
        except ValueError as error:
            raise ConfigError(f"a phone's screen of {size[0]}x{size[1]}: {error}") from error
        if (tokens := longest_prompt(session, size)) > max(run.shapes.prompt_tokens):
            raise ConfigError(
                f"shapes.prompt_tokens: turn {run.phones.most_turns} can take {tokens} tokens on a screen of "
                f"{size[0]}x{size[1]}, the largest bucket is {max(run.shapes.prompt_tokens)}; declare a larger one, or "
                "lower phones.most_turns or shapes.response_tokens"
            )


def fit_shapes(session: Session, sizes: Iterable[Size]) -> Session:
    """Return the session with one bucket of prompts and one of windows, which hold an episode on screens of any size.

    sizes: (width, height) of the phones' screens, in device pixels."""
    run, vision = session.run, session.config.vision
    sizes = list(sizes) or [run.phones.simulated.size]
    windows = max(blocks_of(run.resizing.model_size(*size), vision) for size in sizes)
    tokens = max(longest_prompt(session, size) for size in sizes)
    shapes = replace(run.shapes, windows=(windows,), prompt_tokens=(tokens + -tokens % PROMPT_BLOCK,), slots=None)
    return replace(session, run=replace(run, shapes=shapes))


def longest_prompt(session: Session, size: Size) -> int:
    """Return the number of tokens of the longest prompt of an episode on a screen of (width, height) device pixels."""
    run, prompt_format, screenshot = session.run, session.prompt_format, blank_screenshot(size)
    tokenizer = prompt_format.tokenizer
    systems = [system_text(run.system, text) for text in instructions_of(session.tasks) or {""}]
    encoded = tokenizer([f"system\n{system}" for system in systems], add_special_tokens=False)["input_ids"]
    longest = systems[max(range(len(systems)), key=lambda index: len(encoded[index]))]
    # Not a stop token: those of past responses are left out.
    answer = PastTurn(screenshot, encode(tokenizer, "x")[:1] * run.shapes.response_tokens)
    history = [answer] * (run.phones.most_turns - 1)
    effect = EFFECT_TOKENS if history and prompt_format.tell_effects else 0
    return len(prompt_format.prompt(longest, history, screenshot).ids) + effect


def check_screen(run: Run, vision: VisionConfig, size: Size) -> None:
    """Raise ValueError in one line when a screen of (width, height) model pixels is too large for the run's shapes."""
    smallest_bucket(blocks_of(size, vision), run.shapes.windows, f"shapes.windows, for a screen of {size}")
    tokens = size[0] * size[1] // (vision.patch * vision.merge) ** 2
    if tokens > (most := most_tokens(run, vision)):
        raise ValueError(f"a screen of {size} has {tokens} tokens, there is room for {most}; raise shapes.windows")
