"""A run, as frozen dataclasses: YAML files in configs/ hold them, and every field is also a flag.

    python -m mobile_r1_jax.launch --config=configs/tiny.yaml --task_level.updates=30 --mesh=8x1

Defaults are the published recipe's where it is known ([paper], [kin]) and our own choice elsewhere.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import jsonargparse
import yaml

from mobile_r1_jax.agent.prompts import SYSTEM_TEMPLATE
from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.rewards.action import StepRules
from mobile_r1_jax.rl import GRPO
from mobile_r1_jax.training.optimizer import OptimizerSettings

TINY = Path(__file__).resolve().parent.parent / "configs" / "tiny.yaml"


class ConfigError(ValueError):
    """A run that cannot start, in one line: what is wrong, where, and how to put it right."""


@dataclass(frozen=True)
class Shapes:
    """Static shapes: each batch goes up to the smallest bucket that holds it, and each program is compiled once a bucket."""

    prompt_tokens: tuple[int, ...] = (1536, 2560)  # P
    response_tokens: int = 512  # C; [kin] 2048 to 4096
    windows: tuple[int, ...] = (64,)  # windows of 112x112 pixels in a screen, W


@dataclass(frozen=True)
class Phones:
    """The phones that the agent is evaluated and trained on: simulated ones, behind an adb server of our own."""

    count: int = 16
    size: tuple[int, int] = (1080, 2400)  # (width, height) in device pixels
    apps: tuple[str, ...] = ("settings", "shop", "messages", "launcher")
    withheld_apps: tuple[str, ...] = ("clock",)  # evaluated on, never trained on
    popups: float = 0.5  # mean number of pop-ups in a task
    most_turns: int = 15  # [kin]


@dataclass(frozen=True)
class Annotations:
    """The annotated trajectories of the first two stages: a directory in the published schema, or the oracle's own."""

    directory: Path | None = None  # None: the simulated phone's oracle writes them
    count: int = 1000  # trajectories the oracle writes
    mistakes: float = 0.2  # share with a wrong step that is noticed and undone
    popups: float = 0.1  # mean number of pop-ups in a task


@dataclass(frozen=True)
class FormatFinetuning:
    """Stage 1: supervised finetuning on golden steps."""

    updates: int = 1000
    batch: int = 32  # steps an update
    micro_batch: int = 8
    optimizer: OptimizerSettings = OptimizerSettings(learning_rate=1e-5)


@dataclass(frozen=True)
class ActionLevel:
    """Stage 2: GRPO on single steps, scored by rule against the golden next action."""

    updates: int = 500
    prompts: int = 8  # groups an update
    micro_batch: int = 8  # prompts
    group: int = 4  # [kin]
    loss: GRPO = GRPO()
    rules: StepRules = StepRules()
    optimizer: OptimizerSettings = OptimizerSettings(learning_rate=1e-6)


@dataclass(frozen=True)
class TaskLevel:
    """Stage 3: GRPO over whole trajectories on live phones."""

    updates: int = 40  # [paper] only tens
    tasks: int = 8  # groups an update
    micro_batch: int = 8  # turns
    group: int = 4  # [kin]
    loss: GRPO = GRPO()
    optimizer: OptimizerSettings = OptimizerSettings(learning_rate=1e-6)


@dataclass(frozen=True)
class Evaluation:
    """Episodes on held-out tasks, before and after each stage."""

    episodes: int = 200
    withheld_episodes: int = 60
    temperature: float = 0.0  # 0 is greedy


@dataclass(frozen=True)
class Run:
    """Everything that a run needs to know."""

    name: str = "run"
    folder: Path = Path("runs")  # the run directory is folder/name
    policy: Path = Path("assets/tiny-base")  # a Qwen2.5-VL checkpoint in Hugging Face format
    seed: int = 0
    mesh: str = "1x1"  # fsdp x tensor
    system: str = SYSTEM_TEMPLATE  # over {instruction} and {tools}
    temperature: float = 1.0  # of sampling in both GRPO stages [kin]
    save_every: int = 50  # updates between checkpoints
    resizing: Resizing = Resizing()
    shapes: Shapes = Shapes()
    phones: Phones = Phones()
    annotations: Annotations = Annotations()
    format_finetuning: FormatFinetuning = FormatFinetuning()
    action_level: ActionLevel = ActionLevel()
    task_level: TaskLevel = TaskLevel()
    evaluation: Evaluation = Evaluation()

    @property
    def directory(self) -> Path:
        return self.folder / self.name


def parse_run(command: str, arguments: Sequence[str] | None = None) -> Run:
    """The Run that a command line asks for. Raises ConfigError in one line for a key, value or file that is wrong."""
    parser = jsonargparse.ArgumentParser(
        prog=f"python -m mobile_r1_jax.{command}",
        description=__doc__,
        exit_on_error=False,
        default_config_files=[str(TINY)],
    )
    parser.add_argument("--config", action="config", help="a YAML file of the fields below; later flags win over it")
    parser.add_class_arguments(Run, as_group=False)
    try:
        found = vars(parser.instantiate(parser.parse_args(arguments)))
    except (argparse.ArgumentError, ValueError, TypeError) as error:
        raise ConfigError(" ".join(str(error).split())) from error
    return Run(**{field.name: found[field.name] for field in fields(Run)})


def save_run(run: Run) -> None:
    """Writes the config as it is run into the run directory: `--config` takes it again."""
    run.directory.mkdir(parents=True, exist_ok=True)
    (run.directory / "config.yaml").write_text(yaml.safe_dump(_plain(asdict(run)), allow_unicode=True, sort_keys=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value
