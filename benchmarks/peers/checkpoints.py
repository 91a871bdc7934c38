"""Our random weights as checkpoints for the peers."""

import json
from contextlib import ExitStack
from pathlib import Path

from safetensors.numpy import save_file

from mobile_r1_jax.model.checkpoints.huggingface import save_policy
from mobile_r1_jax.model.checkpoints.safetensors_files import SINGLE, open_tensors
from mobile_r1_jax.model.policy import Policy


def write_checkpoints(policy: Policy, directory: Path) -> tuple[Path, Path]:
    """Write the policy as Qwen2.5-VL, and its language model as Qwen2. Both are the same function without screens."""
    whole, text = directory / "qwen2.5-vl", directory / "qwen2"
    save_policy(policy, whole)
    text.mkdir()
    with ExitStack() as stack:
        tensors = open_tensors(whole, stack)
        save_file({name: part[:] for name, part in tensors.items() if not name.startswith("visual.")}, text / SINGLE)
    shape = policy.config.text
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": shape.vocab,
        "hidden_size": shape.width,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "rms_norm_eps": shape.norm_eps,
        "tie_word_embeddings": shape.tied,
        "max_position_embeddings": shape.max_positions,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": policy.config.pad,
    }
    (text / "config.json").write_text(json.dumps(config))
    return whole, text
