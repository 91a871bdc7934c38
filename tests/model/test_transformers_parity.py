"""The same weights in `transformers` and here give the same logits and the same gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from small_models import IMAGE, SIZES, batch, make_prompt, torch_inputs

from mobile_r1_jax.model.checkpoints.huggingface import save_policy
from mobile_r1_jax.model.inputs import Prompts, Screens
from mobile_r1_jax.model.logps import token_logps
from mobile_r1_jax.model.policy import Policy

CONTENTS = {"text": (), "one image": SIZES[:1], "two images of different sizes": SIZES}


@jax.jit
def prompt_logits(policy: Policy, screens: Screens, prompts: Prompts) -> jax.Array:
    every = jnp.broadcast_to(jnp.arange(prompts.ids.shape[1]), prompts.ids.shape)
    hidden, _ = policy.text.run_prompt(policy.embed_prompts(screens, prompts), prompts.positions, every)
    return policy.text.logits(hidden)


@pytest.mark.parametrize("content", CONTENTS)
def test_logits_equal_those_of_transformers(pair, content) -> None:
    prompt = make_prompt(pair.torch, CONTENTS[content])
    with torch.no_grad():
        expected = pair.torch(**torch_inputs(prompt)).logits[0].numpy()
    logits = prompt_logits(pair.policy, *batch([prompt], pair.policy.config.vision))
    np.testing.assert_allclose(logits[0, : len(prompt.ids)], expected, atol=1e-4)
    assert expected.std() > 0.1


def test_screens_of_different_prompts_in_a_batch_are_independent(tied_pair) -> None:
    prompts = [make_prompt(tied_pair.torch, sizes, seed=seed) for seed, sizes in enumerate((SIZES, SIZES[1:], ()))]
    logits = prompt_logits(tied_pair.policy, *batch(prompts, tied_pair.policy.config.vision, rows=4))
    for row, prompt in zip(logits, prompts, strict=False):
        with torch.no_grad():
            expected = tied_pair.torch(**torch_inputs(prompt)).logits[0].numpy()
        np.testing.assert_allclose(row[: len(prompt.ids)], expected, atol=1e-4)
    assert np.isfinite(logits[3]).all()


def test_gradients_of_every_parameter_equal_those_of_transformers(pair, tmp_path) -> None:
    prompt = make_prompt(pair.torch, SIZES)
    completion = np.random.default_rng(7).integers(0, 140, 9).astype(np.int32)
    inputs = torch_inputs(prompt, completion)
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[0, len(prompt.ids) :] = torch.tensor(completion)
    pair.torch.zero_grad()
    expected = pair.torch(**inputs, labels=labels).loss
    expected.backward()

    def loss(policy: Policy) -> jax.Array:
        ids = jnp.asarray(completion)[None, None]
        screens, prompts = batch([prompt], policy.config.vision)
        hidden = policy.completion_hidden(screens, prompts, ids, jnp.ones(ids.shape, bool))
        return -jnp.mean(token_logps(policy, hidden, ids)[0])

    value, gradients = jax.jit(jax.value_and_grad(loss))(pair.policy)
    assert value == pytest.approx(expected.item(), abs=1e-5)
    # Written as a checkpoint, our gradients carry the names of transformers' parameters.
    nnx.update(graph := nnx.clone(pair.policy), nnx.state(gradients))
    save_policy(graph, tmp_path)
    from safetensors.numpy import load_file

    ours = load_file(tmp_path / "model.safetensors")
    theirs = {name: parameter.grad.numpy() for name, parameter in pair.torch.named_parameters()}
    compared = 0
    for name, theirs_value in theirs.items():
        name = name.replace("model.language_model.", "model.").replace("model.visual.", "visual.")
        scale = np.abs(theirs_value).max()
        assert scale > 0, name
        np.testing.assert_allclose(ours[name], theirs_value, atol=1e-4 * scale, err_msg=name)
        compared += 1
    assert compared == len(ours)
    assert IMAGE in prompt.ids
