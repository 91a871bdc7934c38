"""PEFT loads our adapters, initialises its own like ours, and computes the same logits and gradients."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from small_models import SIZES, batch, make_prompt, torch_inputs
from test_lora import COMPLETION, SETTINGS, adapted, logits_of, torch_logits
from transformers import Qwen2_5_VLForConditionalGeneration

from mobile_r1_jax.model.checkpoints.peft import CONFIG, module_name, write_adapters
from mobile_r1_jax.model.logps import token_logps
from mobile_r1_jax.model.lora import adapters_of, with_adapters
from mobile_r1_jax.model.lora_settings import PROJECTIONS, LoRA
from mobile_r1_jax.model.policy import Policy


@pytest.fixture
def loaded(pair, tmp_path) -> tuple[Policy, PeftModel]:
    """A policy with adapters, and PEFT's model with them on the base in `transformers`."""
    policy = adapted(pair.policy)
    write_adapters(tmp_path, adapters_of(policy), SETTINGS, base=str(pair.directory), dtype=np.dtype("float32"))
    base = Qwen2_5_VLForConditionalGeneration.from_pretrained(pair.directory)
    return policy, PeftModel.from_pretrained(base, tmp_path, is_trainable=True).eval()


def test_peft_loads_adapters_onto_the_base_with_the_same_logits(pair, loaded) -> None:
    policy, model = loaded
    prompt = make_prompt(pair.torch, SIZES)
    np.testing.assert_allclose(logits_of(policy, prompt), torch_logits(model, prompt), atol=1e-4)
    assert np.abs(torch_logits(model, prompt) - torch_logits(pair.torch, prompt)).max() > 0.1


def test_peft_adapts_projections_of_the_language_model_only(loaded) -> None:
    wanted = {module_name(path, layer) for path in PROJECTIONS.values() for layer in range(3)}
    assert set(loaded[1].targeted_module_names) == wanted
    assert "model.language_model.layers.0.self_attn.q_proj" in wanted


def test_gradients_of_every_adapter_equal_those_of_peft(pair, loaded) -> None:
    policy, model = loaded
    prompt = make_prompt(pair.torch, SIZES)
    inputs = torch_inputs(prompt, COMPLETION)
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[0, len(prompt.ids) :] = torch.tensor(COMPLETION)
    model(**inputs, labels=labels).loss.backward()

    def loss(policy: Policy) -> jax.Array:
        ids = jnp.asarray(COMPLETION)[None, None]
        hidden = policy.completion_hidden(*batch([prompt], policy.config.vision), ids, jnp.ones(ids.shape, bool))
        return -jnp.mean(token_logps(policy, hidden, ids)[0])

    theirs = {name: value.grad.numpy() for name, value in model.named_parameters() if value.grad is not None}
    compared = 0
    for path, (a, b, _) in adapters_of(jax.jit(jax.grad(loss))(policy)).items():
        for part, stacked in (("A", a), ("B", b)):
            for layer, gradient in enumerate(np.asarray(stacked)):
                expected = theirs[f"base_model.model.{module_name(path, layer)}.lora_{part}.default.weight"].T
                scale = np.abs(expected).max()
                assert scale > 0
                np.testing.assert_allclose(gradient, expected, atol=1e-4 * scale, err_msg=f"{path} {part} {layer}")
                compared += 1
    assert compared == len(theirs) == 7 * 2 * 3


def test_adapters_are_initialised_like_those_of_peft(pair) -> None:
    """A uniform over the same interval, B zero."""
    torch.manual_seed(0)
    base = Qwen2_5_VLForConditionalGeneration.from_pretrained(pair.directory)
    theirs = dict(
        get_peft_model(base, LoraConfig(r=16, target_modules=r".*language_model.*down_proj")).named_parameters()
    )
    (a, b, _) = adapters_of(with_adapters(pair.policy, LoRA(rank=16), key=jax.random.key(0)))[PROJECTIONS["down"]]
    assert a.dtype == b.dtype == jnp.float32 and not b.any()
    name = "base_model.model.model.language_model.layers.0.mlp.down_proj.lora_{}.default.weight"
    expected = theirs[name.format("A")].detach().numpy()
    assert a[0].T.shape == expected.shape and not theirs[name.format("B")].detach().numpy().any()
    for of in (np.max, np.min, np.std):
        assert of(a[0]) == pytest.approx(of(expected), rel=0.05)


def test_adapter_config_names_the_base_and_the_settings(pair, tmp_path) -> None:
    settings = LoRA(rank=2, alpha=3.5, projections=("q", "up"))
    policy = with_adapters(pair.policy, settings, key=jax.random.key(0))
    write_adapters(tmp_path, adapters_of(policy), settings, base="Qwen/base", dtype=np.dtype("float32"))
    config = LoraConfig.from_pretrained(tmp_path)
    assert (config.base_model_name_or_path, config.r, config.lora_alpha) == ("Qwen/base", 2, 3.5)
    assert json.loads((tmp_path / CONFIG).read_text())["target_modules"].endswith(r"(self_attn\.q_proj|mlp\.up_proj)")
