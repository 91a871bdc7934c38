"""A plan has the shapes of the run (states, batches and calls) and allocates nothing."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AbstractMesh, AxisType
from rich.console import Console
from tiny_run import CONFIG, OPTIMIZER
from transformers import PreTrainedTokenizerFast

from mobile_r1_jax.agent.completion import Completion, PromptGroup
from mobile_r1_jax.agent.prompts import PastTurn, PromptFormat, build_prompt
from mobile_r1_jax.agent.screenshots import Resizing, Screenshot
from mobile_r1_jax.config import Precision, Run, Shapes
from mobile_r1_jax.model.lora import with_adapters
from mobile_r1_jax.model.lora_settings import LoRA
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.model.sharding import AXES, make_mesh, shard_policy
from mobile_r1_jax.phones.providers import open_tasks
from mobile_r1_jax.phones.settings import PhoneSettings, SimulatedSettings
from mobile_r1_jax.phones.simulator.apps import APPS
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.planning.abstract import abstract_batch, abstract_policy, bytes_per_chip
from mobile_r1_jax.planning.programs import Workload, bucket_shares, programs_of
from mobile_r1_jax.rl import GRPO
from mobile_r1_jax.session import Session
from mobile_r1_jax.stages.declaration import STAGES
from mobile_r1_jax.training.state import abstract_state, create_state
from tools.base_policy.tokenizer import train_tokenizer

RUN = Run(
    system="{instruction}",
    resizing=Resizing(scale=1.0),
    shapes=Shapes(prompt_tokens=(64, 128), response_tokens=6, windows=(2,), screens=2),
    phones=PhoneSettings(count=4, most_turns=3, simulated=SimulatedSettings(size=(112, 224))),
)
WORKLOAD = Workload(turns=3, tokens=6)


def mesh_of(*shape: int) -> AbstractMesh:
    return AbstractMesh((1, *shape), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def shape_of(leaf) -> tuple:
    return leaf.shape, leaf.dtype, leaf.sharding


def test_planned_state_equals_the_state_of_a_run_with_placement() -> None:
    mesh = make_mesh("1x1", jax.devices()[:1])
    optimizer = replace(OPTIMIZER, first_moment="bfloat16")
    policy = shard_policy(Policy(CONFIG, rngs=nnx.Rngs(0)), mesh)
    real = create_state(policy, optimizer, frozen=("vision",), key=jax.random.key(0))
    planned = abstract_state(abstract_policy(RUN, CONFIG, mesh), optimizer, frozen=("vision",))
    assert jax.tree.structure(planned) == jax.tree.structure(real)
    assert [shape_of(leaf) for leaf in jax.tree.leaves(planned)] == [shape_of(leaf) for leaf in jax.tree.leaves(real)]
    assert "bfloat16" in {str(leaf.dtype) for leaf in jax.tree.leaves(planned.optimizer)}


def test_planned_state_of_adapters_equals_the_state_of_a_run() -> None:
    mesh = make_mesh("1x1", jax.devices()[:1])
    run = replace(RUN, lora=LoRA(rank=2), precision=Precision(compute="bfloat16"))
    policy = Policy(CONFIG, rngs=nnx.Rngs(0), dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    policy = shard_policy(with_adapters(policy, run.lora, key=jax.random.key(0)), mesh)
    real = create_state(policy, OPTIMIZER, frozen=("vision",), key=jax.random.key(0))
    planned = abstract_state(abstract_policy(run, CONFIG, mesh), OPTIMIZER, frozen=("vision",))
    assert jax.tree.structure(planned) == jax.tree.structure(real)
    assert [shape_of(leaf) for leaf in jax.tree.leaves(planned)] == [shape_of(leaf) for leaf in jax.tree.leaves(real)]
    assert {leaf.dtype.name for leaf in jax.tree.leaves((planned.trained, planned.frozen))} == {"float32", "bfloat16"}


def test_planned_micro_batch_equals_the_micro_batch_of_a_stage() -> None:
    mesh = make_mesh("1x1", jax.devices()[:1])
    prompt_format = PromptFormat(PreTrainedTokenizerFast(tokenizer_object=train_tokenizer()), RUN.system, RUN.resizing)
    session = Session(RUN, CONFIG, prompt_format, open_tasks(RUN.tasks, RUN.phones), mesh, Console(quiet=True))
    device = Device(RUN.phones.simulated.size)
    shots = []
    for app in ("settings", "shop", "clock", "messages"):  # the largest number of different screens in two prompts
        assert device.launch(APPS[app].package)
        shots.append(Screenshot(device.screenshot()))
    prompts = [
        build_prompt(prompt_format.tokenizer, "go", [PastTurn(before, (1, 2))], now, RUN.resizing)
        for before, now in (shots[:2], shots[2:])
    ]
    groups = [PromptGroup(prompt, [Completion((1, 2, 3))] * 2, [1.0, -1.0]) for prompt in prompts]
    (real,) = session.batches(groups, 2, 2, None)
    length = real.prompts.ids.shape[1]
    planned = abstract_batch(RUN, CONFIG, 2, 2, length, mesh, encoded=False, reference=False)
    assert jax.tree.structure(planned) == jax.tree.structure(real)
    assert [shape_of(leaf) for leaf in jax.tree.leaves(planned)] == [shape_of(leaf) for leaf in jax.tree.leaves(real)]


def test_every_stage_lists_its_programs_in_the_order_of_an_update_per_bucket() -> None:
    run = replace(RUN, task_level=replace(RUN.task_level, loss=GRPO(beta=0.0)))
    programs = programs_of(run, CONFIG, mesh_of(1, 1), WORKLOAD)
    titles = {stage: [program.title for program in programs if program.stage == stage] for stage in STAGES}
    assert titles == {
        "format_finetuning": ["gradients 8 x 1, P 64", "gradients 8 x 1, P 128", "add", "update"],
        "action_level": [
            "encode screens",
            *("sample 8 x 4, P 64", "sample 8 x 4, P 128"),
            *("reference 8 x 4, P 64", "gradients 8 x 4, P 64", "reference 8 x 4, P 128", "gradients 8 x 4, P 128"),
            "update",
        ],
        "task_level": [
            "encode screens",
            *("fill 1 slots, P 64", "fill 1 slots, behind kept keys, P 64", "decode 8 x 4, P 64"),
            *(
                "fill 1 slots, P 128",
                "decode 8 x 4, P 128",
            ),  # nothing is cached if the remainder needs the largest bucket
            *("gradients 8 x 1, P 64", "gradients 8 x 1, P 128", "gradients 8 x 4, P 64", "gradients 8 x 4, P 128"),
            *("add", "update"),
        ],
    }


def test_planned_calls_of_an_update_cover_all_turns_of_its_episodes() -> None:
    run = replace(RUN, task_level=replace(RUN.task_level, tasks=4, group=4, micro_batch=8))
    programs = programs_of(replace(run, stages=("task_level",)), CONFIG, mesh_of(1, 1), WORKLOAD)

    def calls(name: str) -> float:
        return sum(program.calls for program in programs if program.name.startswith(name))

    assert calls("fill") == pytest.approx(16 * 3)  # sixteen episodes, three turns each, one prompt per call
    assert calls("decode") == pytest.approx(16 * 3 / 4 * 6 / 8)  # four phones, six tokens, eight tokens per call
    assert calls("gradients") == pytest.approx(16 * 2 / 8 + 1)  # the group shares the prompt of the first turn
    assert calls("encode") == 16 * 3 / 2


@pytest.mark.parametrize(
    ("phones", "slots", "waves"),
    [
        (4, None, 12),  # sixteen episodes of three turns on four phones: four episodes per phone
        (16, None, 3),
        (64, None, 3),  # an update has sixteen episodes: other phones and slots are idle
        (12, None, 6),  # four phones play a second episode
        (16, 4, 12),  # four phones at a time get responses
        (16, 64, 3),
    ],
)
def test_more_phones_or_slots_than_episodes_save_nothing(phones, slots, waves) -> None:
    run = replace(
        RUN,
        stages=("task_level",),
        phones=replace(RUN.phones, count=phones),
        shapes=replace(RUN.shapes, slots=slots),
        task_level=replace(RUN.task_level, tasks=4, group=4),
    )
    programs = programs_of(run, CONFIG, mesh_of(1, 1), WORKLOAD)
    calls = sum(program.calls for program in programs if program.name.startswith("decode"))
    assert calls == pytest.approx(waves * 6 / 8)  # six tokens, eight tokens per call


def test_turns_use_the_bucket_that_their_history_needs() -> None:
    shares = bucket_shares(RUN, CONFIG, Workload(turns=4, tokens=20))
    # system 20, a screen 32: 52, 104, 124 and, over the largest bucket, 144
    assert shares == {64: pytest.approx(1 / 4), 128: pytest.approx(3 / 4)}


def test_chip_holds_its_part_of_split_arrays_and_all_of_others() -> None:
    one, eight = (abstract_policy(RUN, CONFIG, mesh_of(rows, 1)) for rows in (1, 8))
    matrices = [leaf for leaf in jax.tree.leaves(one) if leaf.ndim > 1]
    assert bytes_per_chip(one) == sum(leaf.size * 4 for leaf in jax.tree.leaves(one))
    assert bytes_per_chip(one) / 8 < bytes_per_chip(eight) < bytes_per_chip(one) / 4
    assert sum(np.prod(leaf.shape) for leaf in matrices) > 0


def test_memory_includes_weights_moments_and_reference_outside_the_program() -> None:
    planned = programs_of(replace(RUN, stages=("action_level",)), CONFIG, mesh_of(1, 1), WORKLOAD)
    programs = {program.title: program for program in planned}
    state = abstract_state(abstract_policy(RUN, CONFIG, mesh_of(1, 1)), RUN.action_level.optimizer, frozen=("vision",))
    trained, moments = bytes_per_chip(state.trained), bytes_per_chip(state.optimizer)
    assert moments == pytest.approx(2 * trained, rel=1e-3)
    assert programs["gradients 8 x 4, P 64"].beside == pytest.approx(
        moments + trained
    )  # the reference: as large as trained
    assert programs["reference 8 x 4, P 64"].beside == pytest.approx(moments + trained)
    assert programs["update"].beside == pytest.approx(bytes_per_chip(state.frozen) + trained)


def test_run_of_adapters_counts_one_base_for_policy_and_reference() -> None:
    run = replace(RUN, lora=LoRA(rank=2), precision=Precision(compute="bfloat16"))
    planned = programs_of(run, CONFIG, mesh_of(1, 1), WORKLOAD)
    programs = {(program.stage, program.title): program for program in planned}
    policy = abstract_policy(run, CONFIG, mesh_of(1, 1))
    state = abstract_state(policy, RUN.action_level.optimizer)
    trained, moments = bytes_per_chip(state.trained), bytes_per_chip(state.optimizer)
    assert moments == pytest.approx(2 * trained, abs=100)
    reference = trained / 2  # adapters in bfloat16
    assert programs["action_level", "sample 8 x 4, P 64"].beside == pytest.approx(trained + moments + reference)
    assert programs["action_level", "gradients 8 x 4, P 64"].beside == pytest.approx(moments + reference)
    assert ("format_finetuning", "encode screens") in programs  # no stage trains the vision tower
