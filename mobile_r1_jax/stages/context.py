"""What every stage of a run is given: its settings, the way to speak to the policy, the shapes of its batches."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec
from rich.console import Console

from mobile_r1_jax.agent.prompts import Prompt
from mobile_r1_jax.agent.screenshots import patches
from mobile_r1_jax.config import Run
from mobile_r1_jax.model.config import PolicyConfig, VisionConfig
from mobile_r1_jax.model.inputs import (
    Completions,
    EncodedScreens,
    Prompts,
    Screens,
    collate,
    distinct_screens,
    identity,
    stack_prompts,
)
from mobile_r1_jax.model.layers import ROWS
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.model.sharding import row_shards, shard_batch
from mobile_r1_jax.rollouts.episodes import Speaker
from mobile_r1_jax.sampling.engine import Engine
from mobile_r1_jax.sampling.sampler import Sampling
from mobile_r1_jax.sampling.screen_cache import ScreenCache
from mobile_r1_jax.stages.declaration import STAGES
from mobile_r1_jax.tasks.suite import TaskSuite
from mobile_r1_jax.training.step import Batch

SHOWN = 2  # screenshots that a prompt shows, at most


@dataclass(frozen=True)
class Context:
    """One per run. `config` is the policy's; `tasks` the suite of its episodes; `mesh` what it is sharded over."""

    run: Run
    config: PolicyConfig
    speaker: Speaker
    tasks: TaskSuite
    mesh: Mesh
    console: Console
    _caches: dict[tuple[int, ...], ScreenCache] = field(default_factory=dict)  # the last one, by its tower's arrays

    @property
    def forbidden(self) -> tuple[int, ...]:
        """Tokens that the policy never says: those that stand for screens, and the vocabulary's unused end."""
        config, words = self.config, len(self.speaker.tokenizer)
        return (
            config.image_token,
            config.video_token,
            config.vision_start,
            config.vision_end,
            *range(words, config.text.vocab),
        )

    def sampling(self, temperature: float) -> Sampling:
        return Sampling(
            max_tokens=self.run.shapes.response_tokens,
            temperature=temperature,
            stop_ids=self.config.eos,
            forbidden_ids=self.forbidden,
            top_p=self.run.top_p,
            top_k=self.run.top_k,
        )

    def key(self, *what: int) -> jax.Array:
        """The run's random key, folded with what it is for."""
        key = jax.random.key(self.run.seed)
        for number in what:
            key = jax.random.fold_in(key, number)
        return key

    def screen_cache(self, policy: Policy) -> ScreenCache:
        """For as long as the policy's vision tower does not learn: all stages that it is frozen in share one, and so do
        evaluations, which see the same screens again."""
        tower = tuple(map(id, jax.tree.leaves(policy.vision)))  # a cache keeps its tower's arrays, so no id comes again
        if tower not in self._caches:
            self._caches.clear()
            self._caches[tower] = ScreenCache(
                policy.vision,
                patches,
                self.config.vision,
                windows=self.run.shapes.windows,
                rows=cached_rows(self.run, self.mesh),
                tokens=most_tokens(self.run, self.config.vision),
                place=lambda screens: shard_batch(screens, self.mesh),
            )
        return self._caches[tower]

    def engine(self, policy: Policy, temperature: float, cache: ScreenCache) -> Engine:
        """What answers the phones."""
        return Engine(
            policy,
            lambda prompts, rows: self.collate(prompts, rows, cache),
            self.sampling(temperature),
            self.run.slots,
            prompt_buckets=self.run.shapes.prompt_tokens,
            prefill_rows=(row_shards(self.mesh),),  # few programs; and all devices hold these caches
            keep_keys=self.run.shapes.keep_keys,
            sharding=NamedSharding(self.mesh, PartitionSpec(ROWS)),
        )

    def collate(
        self, prompts: Sequence[Prompt], rows: int, cache: ScreenCache | None
    ) -> tuple[Screens | EncodedScreens, Prompts]:
        """Up to `rows` prompts as arrays of `rows` rows, on the mesh; screens encoded where there is a cache.

        Raises ValueError where a prompt fits no bucket."""
        shapes, config = self.run.shapes, self.config.vision
        if cache is None:
            batch = collate(
                prompts,
                patches,
                config=config,
                prompt_buckets=shapes.prompt_tokens,
                screen_buckets=screen_rows(rows, self.mesh),
                window_buckets=shapes.windows,
                row_buckets=(rows,),
            )
        else:
            screens, places = cache(distinct_screens(prompts), screens=SHOWN * rows)
            batch = screens, stack_prompts(prompts, places, rows=rows, prompt_buckets=shapes.prompt_tokens)
        return shard_batch(batch, self.mesh)


def fitted(run: Run, mesh: Mesh | AbstractMesh) -> Run:
    """The run with its micro-batches and slots rounded up to what the mesh splits rows into; what is left over are
    empty rows."""

    def up(rows: int) -> int:
        return rows + -rows % row_shards(mesh)

    stages = {name: getattr(run, name) for name in STAGES}
    return replace(
        run,
        shapes=replace(run.shapes, slots=up(run.slots)),
        **{name: replace(own, micro_batch=up(own.micro_batch)) for name, own in stages.items()},
    )


def most_tokens(run: Run, vision: VisionConfig) -> int:
    """Room for the merged tokens of a screen: what a row of screens holds, or what a screen is resized to."""
    return min(max(run.shapes.windows) * vision.window_tokens, run.resizing.max_pixels // run.resizing.factor**2)


def cached_rows(run: Run, mesh: Mesh | AbstractMesh) -> tuple[int, ...]:
    """How many rows of screens are encoded at once where the tower does not learn: the next turn of a phone brings one
    new screen, a batch of golden steps brings many."""
    most, across = run.shapes.screens, row_shards(mesh)
    return tuple(sorted({min(most, across * max(1, rows // across)) for rows in (1, most // 4, most)}))


def screen_rows(rows: int, mesh: Mesh | AbstractMesh) -> tuple[int, ...]:
    """How many rows of screens `rows` prompts may have where the tower learns: in quarters up to a row for each."""
    most, across = SHOWN * rows, row_shards(mesh)
    return tuple(sorted({min(most, across * -(-most * quarters // (4 * across))) for quarters in range(1, 5)}))


@dataclass(frozen=True)
class Answered:
    """A prompt and some completions: ids with the stop token, log-probabilities of each token (or none), weights; and
    the log-probabilities under what was drawn from, where the run cuts that off."""

    prompt: Prompt
    ids: Sequence[Sequence[int]]
    logps: Sequence[Sequence[float]] | None
    advantages: Sequence[float]
    truncated_logps: Sequence[Sequence[float]] | None = None


def sharing_prompts(answered: Sequence[Answered], group: int) -> list[Answered]:
    """The same completions, those of one prompt together, `group` at most: it is then computed once for all of them."""
    alike: dict[tuple[bytes, ...], list[Answered]] = defaultdict(list)
    for one in answered:
        alike[identity(one.prompt)].append(one)
    return [
        Answered(
            some[0].prompt,
            [ids for one in some for ids in one.ids],
            [logps for one in some for logps in one.logps],
            [advantage for one in some for advantage in one.advantages],
            [logps for one in some for logps in one.truncated_logps] if some[0].truncated_logps else None,
        )
        for every in alike.values()
        for start in range(0, len(every), group)
        if (some := every[start : start + group])
    ]


def micro_batches(
    context: Context, answered: Sequence[Answered], rows: int, group: int, cache: ScreenCache | None
) -> list[Batch]:
    """All of them in batches of `rows` prompts with room for `group` completions each, or for one where none has more:
    two shapes, as one group of G and G groups of one differ too much to share one. Prompts of like length stand
    together, and the last batch of a shape is padded with empty rows."""
    ordered = sorted(answered, key=lambda one: len(one.prompt.ids))
    alone, together = ([one for one in ordered if (len(one.ids) > 1) == several] for several in (False, True))
    batches = []
    for width, some in ((1, alone), (group, together)):
        starts = range(0, len(some), rows)
        batches += [make_batch(context, some[start : start + rows], rows, width, cache) for start in starts]
    return batches


def make_batch(
    context: Context, answered: Sequence[Answered], rows: int, group: int, cache: ScreenCache | None
) -> Batch:
    screens, prompts = context.collate([one.prompt for one in answered], rows, cache)
    shape = (rows, group, context.run.shapes.response_tokens)
    ids, (logps, truncated_logps) = np.zeros(shape, np.int32), np.zeros((2, *shape), np.float32)
    mask, advantages = np.zeros(shape, bool), np.zeros(shape[:2], np.float32)
    for row, one in enumerate(answered):
        advantages[row, : len(one.ids)] = one.advantages
        for member, completion in enumerate(one.ids):
            length = len(completion)
            if length > shape[2]:
                raise ValueError(f"a response has {length} tokens, shapes.response_tokens is {shape[2]}; raise it")
            ids[row, member, :length], mask[row, member, :length] = completion, True
            if one.logps is not None:
                logps[row, member, :length] = one.logps[member]
            if one.truncated_logps is not None:
                truncated_logps[row, member, :length] = one.truncated_logps[member]
    cut = any(one.truncated_logps is not None for one in answered)
    completions = Completions(ids, mask, logps, advantages, truncated_logps if cut else None)
    return Batch(screens, prompts, shard_batch(completions, context.mesh))
