"""A PEFT directory is a policy: its merged adapters give the logits of `peft`, and it can be exported."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import yaml
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import load_file, save_file
from small_models import SIZES, make_prompt
from test_export import checkpoint
from test_lora import logits_of, torch_logits
from transformers import Qwen2_5_VLForConditionalGeneration

from mobile_r1_jax.export import main
from mobile_r1_jax.model.checkpoints import huggingface
from mobile_r1_jax.model.checkpoints.huggingface import load_policy, save_policy
from mobile_r1_jax.model.checkpoints.model_directory import find_model
from mobile_r1_jax.model.lora import with_adapters
from mobile_r1_jax.model.lora_settings import LoRA
from mobile_r1_jax.model.tokenizer import load_tokenizer

TINY_BASE = Path(__file__).resolve().parents[2] / "assets" / "tiny-base"
SETTINGS = {
    "language model": {"target_modules": r".*language_model.*(q_proj|down_proj)"},
    "both towers": {
        "target_modules": ["qkv", "proj", "q_proj", "o_proj", "gate_proj"],
        "exclude_modules": r".*patch_embed.*",
    },
    "rslora": {"target_modules": ["v_proj"], "use_rslora": True},
    "patterns": {
        "target_modules": ["q_proj", "k_proj", "up_proj"],
        "rank_pattern": {"k_proj": 2, r".*layers\.0\.mlp\.up_proj": 5},
        "alpha_pattern": {"k_proj": 3, r"layers.1.*q_proj": 24},
    },
    "gaussian, some layers": {
        "target_modules": ["o_proj"],
        "layers_to_transform": [1],
        "layers_pattern": "layers",
        "init_lora_weights": "gaussian",
    },
}


def write(base: Path, directory: Path, **settings: object) -> PeftModel:
    """Save random adapters by PEFT and return PEFT's model."""
    torch.manual_seed(1)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(base)
    model = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 6, "task_type": "CAUSAL_LM"} | settings)).eval()
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0, 0.1)
    model.save_pretrained(directory)
    return model


@pytest.fixture(scope="module")
def adapted(tied_pair, tmp_path_factory) -> SimpleNamespace:
    """An adapter directory, and PEFT's model of it."""
    directory = tmp_path_factory.mktemp("adapters")
    return SimpleNamespace(model=write(tied_pair.directory, directory, **SETTINGS["both towers"]), directory=directory)


@pytest.mark.parametrize("settings", SETTINGS)
def test_merged_adapters_give_the_logits_of_peft(pair, tmp_path, settings) -> None:
    model, prompt = write(pair.directory, tmp_path, **SETTINGS[settings]), make_prompt(pair.torch, SIZES)
    policy = load_policy(tmp_path)
    assert policy.config == pair.policy.config
    logits = logits_of(policy, prompt)
    np.testing.assert_allclose(logits, torch_logits(model, prompt), atol=1e-4)
    assert np.abs(logits - torch_logits(pair.torch, prompt)).max() > 0.01


def test_merging_in_parts_equals_merging_by_peft(tied_pair, adapted, tmp_path, monkeypatch) -> None:
    """Large parameters are read in parts, and written layer by layer in blocks."""
    monkeypatch.setattr(huggingface, "WHOLE", 0)
    monkeypatch.setattr(huggingface, "BLOCK", 1000)
    save_policy(load_policy(adapted.directory), tmp_path, like=adapted.directory)
    merged = Qwen2_5_VLForConditionalGeneration.from_pretrained(tmp_path).state_dict()
    model = PeftModel.from_pretrained(
        Qwen2_5_VLForConditionalGeneration.from_pretrained(tied_pair.directory), adapted.directory
    )
    for name, expected in model.merge_and_unload().state_dict().items():
        np.testing.assert_allclose(merged[name], expected, atol=1e-6, err_msg=name)
    values = json.loads((tmp_path / "config.json").read_text())
    assert values == json.loads((tied_pair.directory / "config.json").read_text())
    assert not (tmp_path / "adapter_config.json").exists()


def test_names_of_older_transformers_and_a_moved_base_are_accepted(tied_pair, adapted, tmp_path) -> None:
    prompt = make_prompt(tied_pair.torch, SIZES)
    moved = shutil.copytree(adapted.directory, tmp_path / "adapters")
    config = json.loads((moved / "adapter_config.json").read_text())
    (moved / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "Qwen/elsewhere"}))
    names = load_file(moved / "adapter_model.safetensors").items()
    old = {
        n.replace("model.language_model.", "model.").replace("model.model.visual.", "model.visual."): v
        for n, v in names
    }
    assert "base_model.model.visual.blocks.0.attn.qkv.lora_A.weight" in old
    save_file(old, moved / "adapter_model.safetensors")
    with pytest.raises(FileNotFoundError, match=r"its base 'Qwen/elsewhere' .*--policy_base=DIR"):
        load_policy(moved)
    policy = load_policy(moved, base=tied_pair.directory)
    np.testing.assert_allclose(logits_of(policy, prompt), torch_logits(adapted.model, prompt), atol=1e-4)


def test_model_directory_with_adapters_loads_both_like_transformers(tied_pair, adapted, tmp_path) -> None:
    both = shutil.copytree(tied_pair.directory, tmp_path / "both")
    for file in adapted.directory.glob("adapter_*"):
        shutil.copy(file, both)
    prompt = make_prompt(tied_pair.torch, SIZES)
    theirs = Qwen2_5_VLForConditionalGeneration.from_pretrained(both).eval()
    np.testing.assert_allclose(logits_of(load_policy(both), prompt), torch_logits(theirs, prompt), atol=1e-4)


@pytest.mark.parametrize("began", ["weights", "adapters"])
def test_run_that_started_with_adapters_is_exported(tied_pair, adapted, tmp_path, began, capsys) -> None:
    """Trained weights are written; trained adapters are merged into the base and its first adapters."""
    run, lora = tmp_path / "run", LoRA(rank=2, alpha=4, projections=("q",))
    policy = load_policy(adapted.directory)
    if began == "adapters":
        policy = with_adapters(policy, lora, key=jax.random.key(0))
        policy.text.layers.q.adapter.b[...] = jnp.full_like(policy.text.layers.q.adapter.b[...], 0.1)
    checkpoint(run, "task_level", 1, policy)
    values = {"policy": str(adapted.directory), "policy_base": str(tied_pair.directory)}
    if began == "adapters":
        values["lora"] = {"rank": 2, "alpha": 4, "projections": ["q"]}
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    assert main([str(run), f"--out={tmp_path / 'out'}"]) == 0
    prompt = make_prompt(tied_pair.torch, SIZES)
    np.testing.assert_allclose(logits_of(load_policy(tmp_path / "out"), prompt), logits_of(policy, prompt), atol=1e-5)
    if began == "adapters":
        assert main([str(run), f"--out={tmp_path / 'peft'}", "--peft"]) == 2
        assert "which --peft cannot stack; leave --peft out" in capsys.readouterr().err


def test_tokenizer_of_the_adapters_wins_over_that_of_the_base(tmp_path) -> None:
    write_config = {"peft_type": "LORA", "base_model_name_or_path": str(TINY_BASE)}
    (tmp_path / "adapter_config.json").write_text(json.dumps(write_config))
    assert len(load_tokenizer(tmp_path)) == 1061 and find_model(tmp_path).tokenizer == TINY_BASE
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINY_BASE / name, tmp_path)
    assert len(load_tokenizer(tmp_path)) == 1061 and find_model(tmp_path).tokenizer == tmp_path
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer\.json is not valid JSON"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("config", "tensors", "said"),
    [
        ({"peft_type": "IA3"}, None, "peft_type is 'IA3', only LORA is read here; merge them with peft"),
        ({"use_dora": True}, None, "use_dora: not supported here; merge them with peft"),
        ({"alora_invocation_tokens": [1]}, None, "alora_invocation_tokens: not supported here"),
        ({"invented_tomorrow": 3}, None, "invented_tomorrow: not supported here"),
        ({"init_lora_weights": "pissa"}, None, "init_lora_weights 'pissa' changes the base too"),
        ({}, lambda t: t | {"base_model.model.lm_head.weight": np.zeros((160, 64), np.float32)}, "only LoRA of linear"),
        (
            {},
            lambda t: t | {"base_model.model.a.lora_embedding_A": np.zeros((4, 160), np.float32)},
            "only LoRA of linear",
        ),
        ({}, lambda t: t | {"base_model.model.a.lora_magnitude_vector": np.zeros(4)}, "only LoRA of linear layers"),
        ({}, lambda t: dict(list(t.items())[1:]), "don't fit their base: A is None"),
        (
            {},
            lambda t: {name.replace("blocks.0", "blocks.9"): value for name, value in t.items()},
            "of the base is None; name",
        ),
        ({}, lambda t: {name: value[:, :-1] if "lora_A" in name else value for name, value in t.items()}, "don't fit"),
    ],
)
def test_unsupported_adapters_are_one_line_errors(adapted, tmp_path, config, tensors, said) -> None:
    directory = shutil.copytree(adapted.directory, tmp_path / "adapters")
    values = json.loads((directory / "adapter_config.json").read_text())
    (directory / "adapter_config.json").write_text(json.dumps(values | config))
    if tensors is not None:
        changed = tensors(dict(sorted(load_file(directory / "adapter_model.safetensors").items())))
        save_file({n: np.ascontiguousarray(v) for n, v in changed.items()}, directory / "adapter_model.safetensors")
    with pytest.raises(ValueError) as error:
        load_policy(directory)
    assert said in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda path: (path / "adapter_config.json").write_text("{"), "adapter_config.json is not valid JSON"),
        (
            lambda path: (path / "adapter_model.safetensors").write_bytes(b"x"),
            "adapter_model.safetensors (1 bytes) is no",
        ),
        (lambda path: (path / "adapter_model.safetensors").rename(path / "adapter_model.bin"), "no adapter_model.safe"),
    ],
)
def test_broken_adapter_files_are_named(adapted, tmp_path, break_it, said) -> None:
    break_it(directory := shutil.copytree(adapted.directory, tmp_path / "adapters"))
    with pytest.raises(ValueError) as error:
        load_policy(directory)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_base_for_a_policy_without_adapters_is_refused(tied_pair) -> None:
    with pytest.raises(ValueError, match="holds no adapters; leave policy_base out"):
        load_policy(tied_pair.directory, base=tied_pair.directory)
