"""The tokenizer of a policy, checked against its config before a run starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mobile_r1_jax.model.checkpoints.json_section import read_json
from mobile_r1_jax.model.checkpoints.model_directory import find_model
from mobile_r1_jax.model.config import PolicyConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Special token -> the field of config.json with its id, if there is one.
SPECIAL = {
    "<|image_pad|>": "image_token",
    "<|video_pad|>": "video_token",
    "<|vision_start|>": "vision_start",
    "<|vision_end|>": "vision_end",
    "<|im_start|>": None,
    "<|im_end|>": None,
    "<|endoftext|>": None,
}


def load_tokenizer(directory: str | Path, base: str | Path | None = None) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a policy (`base`: as for `huggingface.load_policy`) and compare it with config.json.

    It reads no weights, so it is fast.

    Raises:
      FileNotFoundError, ValueError: one line. The tokenizer is missing or broken; a token has no row in the embedding;
        a special token is missing or has another id than in config.json; or <|im_end|>, which ends a turn, is not a
        stop token.
    """
    model = find_model(directory, base)
    config, place = model.config(), model.tokenizer
    vocabulary = (tokenizer := _read(place)).get_vocab()
    if (largest := max(vocabulary.values())) >= config.text.vocab:
        raise ValueError(
            f"{place}: the tokenizer has ids up to {largest}, but config.json has a vocab_size of {config.text.vocab}: "
            "this is the tokenizer of another model, or tokens were added without enlarging the embedding"
        )
    for token, field in SPECIAL.items():
        if token not in vocabulary:
            raise ValueError(f"{place}: the tokenizer lacks {token}; use the tokenizer of a Qwen2.5-VL model")
        if field is not None and vocabulary[token] != getattr(config, field):
            raise ValueError(
                f"{place}: {token} has the id {vocabulary[token]}, but config.json has {field}_id "
                f"{getattr(config, field)}: this is the tokenizer of another model"
            )
    _check_stop_tokens(model.base, config, vocabulary["<|im_end|>"])
    return tokenizer


def _read(directory: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    names = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "added_tokens.json", "special_tokens_map.json")
    found = {name for name in names if (directory / name).is_file()}
    if not found & {"tokenizer.json", "vocab.json"}:
        raise FileNotFoundError(
            f"{directory}: no tokenizer (tokenizer.json, or vocab.json and merges.txt); copy it there"
        )
    for name in sorted(found):
        read_json(directory / name)
    try:
        return AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except Exception as error:  # tokenizers has no narrower class for a file that it cannot read
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{directory}: the tokenizer does not load ({reason}); copy its files again") from error


def _check_stop_tokens(directory: Path, config: PolicyConfig, turn_end: int) -> None:
    if turn_end not in config.eos:
        named = ", ".join(map(str, config.eos)) or "none"
        file = "generation_config.json" if (directory / "generation_config.json").is_file() else "config.json"
        raise ValueError(
            f"{directory}: <|im_end|> ({turn_end}), which ends a turn, is not a stop token (eos_token_id: {named}): no "
            f"answer would end; add it to eos_token_id in {file}, or use an instruction-tuned model"
        )
