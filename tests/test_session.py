"""Batches for an update: completions of one prompt share it and keep their weights."""

import dataclasses
import io
from collections.abc import Sequence

import jax
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AbstractMesh
from PIL import Image
from rich.console import Console
from tiny_run import CONFIG, SETTINGS
from transformers import PreTrainedTokenizerFast

from mobile_r1_jax.agent.completion import Completion, PromptGroup
from mobile_r1_jax.agent.prompts import PastTurn, Prompt, PromptFormat, build_prompt, chat_tokens
from mobile_r1_jax.agent.screenshots import Resizing, Screenshot, blank_screenshot
from mobile_r1_jax.config import Run, Shapes, TaskLevel
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.model.sharding import AXES, make_mesh
from mobile_r1_jax.phones.providers import open_tasks
from mobile_r1_jax.session import Session, longest_prompt, round_to_mesh
from mobile_r1_jax.tasks.suite import Split
from mobile_r1_jax.training.batches import merge_equal_prompts
from mobile_r1_jax.training.state import create_state
from mobile_r1_jax.training.step import train_step
from tools.base_policy.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=train_tokenizer())
    tokens = chat_tokens(tokenizer)
    config = dataclasses.replace(
        CONFIG,
        text=dataclasses.replace(CONFIG.text, vocab=len(tokenizer)),
        image_token=tokens.image_pad,
        vision_start=tokens.vision_start,
        vision_end=tokens.vision_end,
    )
    shapes = Shapes(prompt_tokens=(64, 160), response_tokens=4, windows=(2,), screens=2)
    run = Run(folder=tmp_path_factory.mktemp("runs"), shapes=shapes, resizing=Resizing(scale=1.0))
    prompt_format = PromptFormat(tokenizer, "{instruction}", run.resizing)
    return Session(run, config, prompt_format, open_tasks(run.tasks, run.phones), make_mesh("1x1"), Console(quiet=True))


def prompt(session: Session, *colors: str) -> Prompt:
    """Return a new prompt each time, as in each episode, with a past screenshot for every colour but the last."""

    def screenshot(color: str) -> Screenshot:
        file = io.BytesIO()
        Image.new("RGB", (112, 224), color).save(file, "PNG")
        return Screenshot(file.getvalue())

    *past, now = map(screenshot, colors)
    answers = [PastTurn(screenshot, (20, 21)) for screenshot in past]
    return build_prompt(session.prompt_format.tokenizer, "Open Shop", answers, now, session.prompt_format.resizing)


def turns(session: Session) -> list[PromptGroup]:
    """Return three answers to one screen, and one each to another screen and to a later turn."""
    rng = np.random.default_rng(0)
    shown = (["red"], ["blue"], ["red"], ["red", "blue"], ["red"])
    return [
        PromptGroup(
            prompt(session, *colors),
            [
                Completion(
                    tuple(rng.integers(8, 60, 1 + n % 4).tolist()),
                    tuple(rng.normal(size=1 + n % 4).tolist()),
                    tuple(rng.normal(size=1 + n % 4).tolist()),
                )
            ],
            [rng.normal()],
        )
        for n, colors in enumerate(shown)
    ]


def without_truncated(groups: Sequence[PromptGroup]) -> list[PromptGroup]:
    return [
        dataclasses.replace(one, completions=[dataclasses.replace(c, truncated_logps=()) for c in one.completions])
        for one in groups
    ]


def updated(session: Session, answered: Sequence[PromptGroup], group: int) -> tuple[list[np.ndarray], list[tuple]]:
    """Return the weights after one update, and the batches' (prompts, completions each)."""
    policy = Policy(session.config, rngs=nnx.Rngs(0))
    state = create_state(policy, SETTINGS.optimizer, frozen=("vision",), key=jax.random.key(0))
    batches = session.batches(answered, 2, group, session.screen_cache(policy))
    state, _ = train_step(state, *batches, settings=SETTINGS)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state.policy)]
    return leaves, [batch.completions.ids.shape[:2] for batch in batches]


def test_completions_of_equal_prompts_are_grouped_and_none_is_lost(session: Session) -> None:
    alone = turns(session)
    shared = merge_equal_prompts(alone, 4)
    assert [len(one.completions) for one in shared] == [3, 1, 1]
    for field in ("completions", "advantages"):
        everything = [value for one in shared for value in getattr(one, field)]
        assert sorted(map(str, everything)) == sorted(str(getattr(one, field)[0]) for one in alone)
    assert [len(one.completions) for one in merge_equal_prompts(alone, 2)] == [2, 1, 1, 1]


@pytest.mark.parametrize(("group", "shapes"), [(4, [(2, 1), (2, 4)]), (2, [(2, 1), (2, 1), (2, 2)])])
def test_update_with_shared_prompts_equals_update_with_separate_prompts(
    session: Session, group: int, shapes: list
) -> None:
    alone, _ = updated(session, turns(session), 1)
    shared, made = updated(session, merge_equal_prompts(turns(session), group), group)
    assert made == shapes
    for one, other in zip(alone, shared, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_log_probabilities_and_truncated_ones_align_with_their_tokens(session: Session) -> None:
    answered = turns(session)[:2]
    (batch,) = session.batches(answered, 2, 1, None)
    for row, one in enumerate(answered):
        at = row, 0, np.asarray(batch.completions.mask[row, 0])
        assert batch.completions.ids[at].tolist() == list(one.completions[0].ids)
        np.testing.assert_allclose(batch.completions.logps[at], one.completions[0].logps, rtol=1e-6)
        np.testing.assert_allclose(batch.completions.truncated_logps[at], one.completions[0].truncated_logps, rtol=1e-6)
    (batch,) = session.batches(without_truncated(answered), 2, 1, None)
    assert batch.completions.truncated_logps is None


def test_too_long_response_is_an_error(session: Session) -> None:
    long = [PromptGroup(prompt(session, "red"), [Completion((9,) * 5)], [1.0])]
    with pytest.raises(ValueError, match=r"5 tokens, shapes\.response_tokens is 4; raise it"):
        session.batches(long, 2, 1, None)


@pytest.mark.parametrize(("frozen", "lasts"), [(("vision",), True), pytest.param((), False, marks=pytest.mark.slow)])
def test_screen_cache_is_kept_between_stages_with_a_frozen_tower(session, frozen, lasts) -> None:
    policy = Policy(session.config, rngs=nnx.Rngs(0))
    cache = session.screen_cache(policy)
    state = create_state(policy, SETTINGS.optimizer, frozen=frozen, key=jax.random.key(0))
    batches = session.batches(turns(session), 2, 1, cache if frozen else None)
    state, _ = train_step(state, *batches, settings=SETTINGS)
    assert (session.screen_cache(state.policy) is cache) == lasts


@pytest.mark.parametrize(("mesh", "rows"), [((1, 1, 1), 12), ((1, 8, 1), 16), ((2, 4, 2), 16), ((1, 4, 2), 12)])
def test_micro_batches_and_slots_have_rows_for_every_part_of_the_mesh(mesh, rows) -> None:
    run = round_to_mesh(Run(task_level=TaskLevel(micro_batch=12), shapes=Shapes(slots=12)), AbstractMesh(mesh, AXES))
    assert run.task_level.micro_batch == run.slots == rows
    assert run.format_finetuning.micro_batch == run.action_level.micro_batch == 8


@pytest.mark.parametrize("effect", ["no key is called 'FLY'", "word " * 99, "🦊" * 500, "一" * 500])
def test_longest_prompt_fits_with_every_effect(session: Session, effect: str) -> None:
    phones = dataclasses.replace(session.run.phones, most_turns=3)
    run = dataclasses.replace(session.run, phones=phones, system="{instruction}")
    silent = dataclasses.replace(session.prompt_format, tell_effects=False)
    session = dataclasses.replace(session, run=run)
    texts = {text for split in Split for text in session.tasks.instructions(split)}
    longest = max(texts, key=lambda text: len(silent.tokenizer.encode(f"system\n{text}")))
    past = [PastTurn(blank_screenshot((112, 224)), (20,) * run.shapes.response_tokens, effect)] * 2
    prompt = session.prompt_format.prompt(longest, past, past[0].screenshot)
    assert len(prompt.ids) <= longest_prompt(session, (112, 224))
    assert longest_prompt(dataclasses.replace(session, prompt_format=silent), (112, 224)) == len(
        silent.prompt(longest, past, past[0].screenshot).ids
    )
