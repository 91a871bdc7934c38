"""What a run needs before anything expensive starts: its mesh, policy, tokenizer and shapes, checked."""

import jax
import jax.numpy as jnp
from flax import nnx
from rich.console import Console

from mobile_r1_jax.agent.prompts import Past, build_prompt, system_text
from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.config import ConfigError, Run
from mobile_r1_jax.model.checkpoints.huggingface import load_policy
from mobile_r1_jax.model.lora import with_adapters
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.model.sharding import make_mesh, mesh_name, shard_policy
from mobile_r1_jax.model.tokenizer import load_tokenizer
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.phones.simulator.screen import check_size
from mobile_r1_jax.phones.simulator.tasks import held_out_instructions
from mobile_r1_jax.rollouts.episodes import Speaker
from mobile_r1_jax.runtime.compilation_cache import keep_compiled
from mobile_r1_jax.stages.context import Context, fitted
from mobile_r1_jax.stages.golden import check_screen


def open_session(run: Run, console: Console) -> tuple[Context, Policy]:
    """Return the context of a run's stages and the policy that it begins with. Raises ConfigError in one line."""
    try:
        tokenizer = load_tokenizer(run.policy, run.policy_base)
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(f"policy: {error}") from error
    keep_compiled(run.compiled)
    try:
        mesh = make_mesh(run.mesh)
        run = fitted(run, mesh)
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
    context = Context(run, policy.config, Speaker(tokenizer, run.system, run.resizing), mesh, console)
    check_lengths(context)
    size = sum(array.size for array in jax.tree.leaves(policy)) / 1e6
    learn = sum(array.size for array in jax.tree.leaves(nnx.state(policy, nnx.LoRAParam))) / 1e6
    adapters = f", {learn:.1f} M of them in adapters" if run.lora is not None else ""
    devices = f"{len(jax.devices())} {jax.default_backend()} device(s), mesh {mesh_name(*mesh.shape.values())}"
    console.print(f"policy: {run.policy}, {size:.1f} M parameters{adapters}; {devices}")
    return context, policy


def check_lengths(context: Context) -> None:
    """Raise ConfigError where the phones' screens, or the episodes on them, are too large for the run's shapes."""
    run, speaker = context.run, context.speaker
    try:
        check_size(run.phones.size)
        check_screen(run, context.config.vision, run.resizing.model_size(*run.phones.size))
    except ValueError as error:
        raise ConfigError(f"phones.size: {error}") from error
    screenshot = Screenshot(Device(run.phones.size).screenshot())
    longest = max(held_out_instructions(), key=lambda text: len(speaker.tokenizer.encode(text)))
    answer = Past(screenshot, (0,) * run.shapes.response_tokens)
    system = system_text(run.system, longest)
    prompt = build_prompt(speaker.tokenizer, system, [answer] * (run.phones.most_turns - 1), screenshot, run.resizing)
    if len(prompt.ids) > max(run.shapes.prompt_tokens):
        raise ConfigError(
            f"shapes.prompt_tokens: turn {run.phones.most_turns} can take {len(prompt.ids)} tokens, the largest bucket "
            f"is {max(run.shapes.prompt_tokens)}; declare a larger one, or lower phones.most_turns or "
            "shapes.response_tokens"
        )
