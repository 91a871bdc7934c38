"""python benchmarks/against_torch.py: sampling and one GRPO step, ours against transformers and torch, as ratios.

The same small policy and the same prompts (text and two screenshots each) on both sides, float32, in one process, in
turns; medians of the repetitions. Machines differ and are noisy: read the ratios.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import torch
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

from mobile_r1_jax.agent.prompts import Past, Prompt, build_prompt, response_ids
from mobile_r1_jax.agent.screenshots import Resizing, Screenshot, patches
from mobile_r1_jax.model.huggingface import load_policy
from mobile_r1_jax.model.inputs import Completions, collate
from mobile_r1_jax.phones.simulator import gestures
from mobile_r1_jax.phones.simulator.oracle import make, next_move
from mobile_r1_jax.phones.simulator.screen import draw
from mobile_r1_jax.phones.simulator.tasks import draw_tasks, place
from mobile_r1_jax.rl import GRPO
from mobile_r1_jax.sampling.sampler import Sampling, sample
from mobile_r1_jax.training.optimizer import OptimizerSettings
from mobile_r1_jax.training.state import create_state
from mobile_r1_jax.training.step import Batch, StepSettings, train_step

TINY = Path(__file__).resolve().parent.parent / "assets" / "tiny-base"


@dataclass(frozen=True)
class Work:
    """What both sides do: `prompts` with `group` completions of `tokens` tokens each."""

    prompts: int
    group: int
    tokens: int
    repetitions: int


def make_prompts(tokenizer: object, count: int) -> list[Prompt]:
    """Second turns of the simulated phone's tasks: system, screenshot, response, screenshot."""
    found = []
    said = response_ids(tokenizer, "<think>On Home; need it.</think><action>Open it.</action>")
    for task in draw_tasks(count, seed=0, apps=("shop",), held_out=False, popups=0):
        placed = place(task.setup)
        first = Screenshot(draw(gestures.screen_of(placed.state), (112, 224)))
        make(placed.state, next_move(placed.state, placed.goals))
        second = Screenshot(draw(gestures.screen_of(placed.state), (112, 224)))
        system = "Phone. Task: " + task.instruction
        found.append(build_prompt(tokenizer, system, [Past(first, said)], second, Resizing(scale=1.0)))
    return found


def torch_inputs(prompts: Sequence[Prompt], group: int, pad: int) -> dict[str, torch.Tensor]:
    """Left-padded, every prompt `group` times, as `transformers` takes them."""
    longest = max(len(prompt.ids) for prompt in prompts)
    repeated = [prompt for prompt in prompts for _ in range(group)]
    ids = np.full((len(repeated), longest), pad)
    mask = np.zeros((len(repeated), longest), int)
    for row, prompt in enumerate(repeated):
        ids[row, longest - len(prompt.ids) :], mask[row, longest - len(prompt.ids) :] = prompt.ids, 1
    shown = [(shot, size) for prompt in repeated for shot, size in zip(prompt.screenshots, prompt.sizes, strict=True)]
    grids = [(1, height // 14, width // 14) for _, (width, height) in shown]
    pixels = np.concatenate([patches(shot, size) for shot, size in shown])
    return {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
        "pixel_values": torch.tensor(pixels),
        "image_grid_thw": torch.tensor(grids),
    }


def compare(policy_folder: Path, work: Work) -> list[tuple[str, float, float]]:
    """(what, our median seconds, torch's median seconds)."""
    tokenizer = AutoTokenizer.from_pretrained(policy_folder)
    policy = load_policy(policy_folder)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(policy_folder, dtype=torch.float32)
    prompts = make_prompts(tokenizer, work.prompts)
    screens, arrays = collate(
        prompts,
        patches,
        config=policy.config.vision,
        prompt_buckets=(max(len(prompt.ids) for prompt in prompts),),
        screen_buckets=(2 * len(prompts),),
        window_buckets=(2,),
    )
    inputs = torch_inputs(prompts, work.group, policy.config.pad or 0)
    sampling = Sampling(max_tokens=work.tokens)
    keys = jax.random.split(jax.random.key(0), len(prompts))

    def ours_samples() -> None:
        jax.block_until_ready(sample(policy, screens, arrays, keys, group=work.group, sampling=sampling))

    def torch_samples() -> None:
        model.generate(
            **inputs, do_sample=True, top_k=0, max_new_tokens=work.tokens, min_new_tokens=work.tokens, use_cache=True
        )

    drawn = sample(policy, screens, arrays, keys, group=work.group, sampling=sampling)
    advantages = np.resize(np.array([1.0, -1.0], np.float32), drawn.ids.shape[:2])
    batch = Batch(screens, arrays, Completions(drawn.ids, drawn.mask, drawn.logps, advantages))
    optimizer = OptimizerSettings(learning_rate=1e-6)
    settings = StepSettings(GRPO(beta=0.0), optimizer)
    states = [create_state(jax.tree.map(jax.numpy.copy, policy), optimizer, frozen=("vision",), key=jax.random.key(0))]

    def ours_step() -> None:
        states[0], _ = train_step(states[0], batch, settings=settings)
        jax.block_until_ready(states[0].step)

    model.model.visual.requires_grad_(False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    adam = torch.optim.AdamW(trained, lr=1e-6, weight_decay=0.0)
    said = torch.tensor(np.asarray(drawn.ids).reshape(-1, work.tokens))
    full = inputs | {
        "input_ids": torch.cat([inputs["input_ids"], said], 1),
        "attention_mask": torch.cat([inputs["attention_mask"], torch.ones_like(said)], 1),
    }
    weights = torch.tensor(advantages.reshape(-1, 1))

    def torch_step() -> None:
        logits = model(**full, logits_to_keep=work.tokens + 1).logits[:, :-1]
        logps = torch.log_softmax(logits, -1).gather(-1, said[..., None])[..., 0]
        loss = -(torch.exp(logps - logps.detach()) * weights).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        adam.step()
        adam.zero_grad()

    rows = []
    for what, ours, theirs in (("sampling", ours_samples, torch_samples), ("GRPO step", ours_step, torch_step)):
        rows.append((what, *interleaved(ours, theirs, work.repetitions)))
    return rows


def interleaved(ours: Callable[[], None], theirs: Callable[[], None], repetitions: int) -> tuple[float, float]:
    """Median seconds of each, run in turns after one warm-up."""
    times: tuple[list[float], list[float]] = ([], [])
    for repetition in range(repetitions + 1):
        for run, spent in zip((ours, theirs), times, strict=True):
            began = time.perf_counter()
            run()
            if repetition:
                spent.append(time.perf_counter() - began)
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", type=Path, default=TINY, help="a Qwen2.5-VL checkpoint in Hugging Face format")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repetitions", type=int, default=5)
    asked = parser.parse_args()
    work = Work(asked.prompts, asked.group, asked.tokens, asked.repetitions)
    size = f"{work.prompts} prompts x {work.group} completions x {work.tokens} tokens"
    print(f"{size}, {jax.default_backend()}, medians of {work.repetitions}")
    tokens = work.prompts * work.group * work.tokens
    for what, ours, theirs in compare(asked.policy, work):
        rates = f"ours {tokens / ours:8.0f} tokens/s   torch {tokens / theirs:8.0f} tokens/s"
        print(f"{what:10} {rates}   ratio {theirs / ours:.2f}")


if __name__ == "__main__":
    main()
