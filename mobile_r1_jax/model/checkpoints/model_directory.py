"""The directories of a policy: one Hugging Face directory, or PEFT adapters and the directory of their base."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobile_r1_jax.model.checkpoints.json_section import Section, read_json
from mobile_r1_jax.model.checkpoints.peft import CONFIG as ADAPTER_CONFIG
from mobile_r1_jax.model.checkpoints.safetensors_files import INDEX, SINGLE
from mobile_r1_jax.model.config import PolicyConfig, config_from_json

CHAT_TEMPLATES = ("chat_template.jinja", "chat_template.json")
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    *CHAT_TEMPLATES,
)
SETTINGS = (
    "generation_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
)


@dataclass(frozen=True)
class ModelDirectory:
    """A policy on disk. `base` holds config.json and the weights; `adapters` is a PEFT directory, if there is one."""

    base: Path
    adapters: Path | None = None

    @property
    def directories(self) -> tuple[Path, ...]:
        """The directories that hold the policy's files."""
        return (self.base,) if self.adapters in (None, self.base) else (self.base, self.adapters)

    @property
    def tokenizer(self) -> Path:
        """The directory of the tokenizer: that of the adapters if it has one, else the base."""
        own = self.adapters is not None and any(
            (self.adapters / name).is_file() for name in ("tokenizer.json", "vocab.json")
        )
        return self.adapters if own else self.base

    def companions(self) -> Iterator[Path]:
        """Yield the files that a copy of the policy needs, except weights and config.json."""
        for directory, names in ((self.base, SETTINGS), (self.tokenizer, TOKENIZER)):
            yield from (directory / name for name in names if (directory / name).is_file())

    @property
    def has_chat_template(self) -> bool:
        file = self.tokenizer / "tokenizer_config.json"
        in_config = file.is_file() and read_json(file).get("chat_template")
        return bool(in_config) or any((self.tokenizer / name).is_file() for name in CHAT_TEMPLATES)

    def config_json(self) -> dict[str, Any]:
        """Return the parsed config.json. Raise FileNotFoundError or ValueError in one line."""
        file = self.base / "config.json"
        if not file.is_file():
            raise FileNotFoundError(
                f"{self.base}: no config.json; give the directory of a Qwen2.5-VL model in Hugging Face format"
            )
        return read_json(file)

    def config(self) -> PolicyConfig:
        """Return the policy's config: config.json, with the stop tokens of generation_config.json if it has any.

        Raises as `config_json` and `config_from_json`; messages name the directory.
        """
        values, generation = self.config_json(), self.base / "generation_config.json"
        try:
            return config_from_json(values, read_json(generation) if generation.is_file() else None)
        except ValueError as error:
            raise ValueError(f"{self.base}: {str(error).removeprefix(f'{self.base}/')}") from error


def find_model(directory: str | Path, base: str | Path | None = None) -> ModelDirectory:
    """Find the parts of the policy in `directory`, as transformers does.

    A directory with an adapter_config.json holds adapters. Their base is `base`, if given; else the directory itself,
    if it holds a whole model too; else the directory that adapter_config.json names.

    Raises:
      FileNotFoundError: the base does not exist.
      ValueError: `base` is given, but `directory` holds no adapters; or adapter_config.json is broken.
    """
    directory = Path(directory)
    file = directory / ADAPTER_CONFIG
    if not file.is_file():
        if base is not None:
            raise ValueError(f"{directory}: no {ADAPTER_CONFIG}, so it holds no adapters; leave policy_base out")
        return ModelDirectory(directory)
    if base is None and any((directory / name).is_file() for name in (SINGLE, INDEX)):
        return ModelDirectory(directory, directory)
    named = Section(read_json(file), f"{file}: ").get("base_model_name_or_path")
    found = Path(base or named or "")
    if not (found / "config.json").is_file():
        what = f"policy_base {base}" if base else f"its base {named!r} ({ADAPTER_CONFIG}: base_model_name_or_path)"
        raise FileNotFoundError(
            f"{directory}: {what} is not a model directory (no config.json); download it and give --policy_base=DIR"
        )
    return ModelDirectory(found, directory)
