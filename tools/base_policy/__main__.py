"""python -m tools.base_policy: pretrain the small base policy, in one to two hours on two cores."""

import os
from pathlib import Path

os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # it warns about missing torch, which is not needed

import jax
import jax.numpy as jnp
import jsonargparse
from transformers import AutoTokenizer

from mobile_r1_jax.model.checkpoints.huggingface import save_policy
from tools.base_policy.pretraining import Pretraining, pretrain


def main(folder: Path = Path("runs/base"), run: Pretraining = Pretraining()) -> None:  # noqa: B008
    """Pretrain from the newest checkpoint in `folder`. The same command resumes a stopped run.

    The policy is saved in `folder`/policy in Hugging Face format, in bfloat16.
    """
    policy = jax.tree.map(lambda array: array.astype(jnp.bfloat16), pretrain(run, folder))
    save_policy(policy, folder / "policy")
    AutoTokenizer.from_pretrained(folder / "tokenizer").save_pretrained(folder / "policy")
    print(f"The base is in {folder / 'policy'}")


if __name__ == "__main__":
    jsonargparse.auto_cli(main)
