"""A run, as frozen dataclasses: YAML files in configs/ hold them, and every field is also a flag.

    python -m mobile_r1_jax.launch --config=configs/tiny.yaml --task_level.updates=30 --mesh=8x1

Defaults are the published recipe's where it is known ([paper], [kin]) and our own choice elsewhere.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import jsonargparse
import yaml

from mobile_r1_jax.agent.coordinates import FrameSetting
from mobile_r1_jax.agent.data_files import DATA, has_data
from mobile_r1_jax.agent.prompts import SYSTEM_TEMPLATE
from mobile_r1_jax.agent.screenshots import PUBLISHED_RESIZING, Resizing
from mobile_r1_jax.model.lora import LoRA
from mobile_r1_jax.phones.simulator.tasks import combinations
from mobile_r1_jax.phones.simulator.templates import TEMPLATES
from mobile_r1_jax.rewards.action import StepRules
from mobile_r1_jax.rl import GRPO
from mobile_r1_jax.training.optimizer import OptimizerSettings

TINY = Path(__file__).resolve().parent.parent / "configs" / "tiny.yaml"


LEAST = {
    "save_every": 1,
    "top_k": 1,
    "shapes.response_tokens": 1,
    "shapes.screens": 1,
    "shapes.slots": 1,
    "phones.count": 1,
    "phones.most_turns": 1,
    "annotations.count": 1,
    "format_finetuning.batch": 1,
    "format_finetuning.micro_batch": 1,
    "action_level.prompts": 1,
    "action_level.micro_batch": 1,
    "action_level.group": 2,  # a group of one has no better and no worse
    "task_level.tasks": 1,
    "task_level.micro_batch": 1,
    "task_level.group": 2,
    "task_level.step_weight": 0.0,
}


class ConfigError(ValueError):
    """A run that cannot start, in one line: what is wrong, where, and how to put it right."""


@dataclass(frozen=True)
class Shapes:
    """Static shapes: each batch goes up to the smallest bucket that holds it; a program is compiled once a bucket."""

    prompt_tokens: tuple[int, ...] = (1536, 2560)  # P
    response_tokens: int = 512  # C; [kin] 2048 to 4096
    windows: tuple[int, ...] = (48, 64)  # W: windows of 112x112 pixels in a row of screens; several may share a row
    screens: int = 8  # rows of screens, at most, that are encoded at once where the vision tower does not learn
    slots: int | None = None  # responses to phones that are under way at once; None: one for every phone
    keep_keys: bool = True  # a prompt begins with what a slot holds of it; a small policy is quicker computed anew


@dataclass(frozen=True)
class Precision:
    """What the computation keeps, and in how many digits."""

    compute: Literal["float32", "bfloat16"] = "float32"  # dtype of activations and of the weights as they are used
    # Dtype of the weights as they are held, of their gradients and second moments; bfloat16 is rounded stochastically
    # (training/rounding.py). Adapters are always float32.
    master: Literal["float32", "bfloat16"] = "float32"
    remat: Literal["none", "matmuls", "full"] = "none"  # what a layer keeps for its backward pass (model/layers.py)


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
    """Annotated trajectories, for the first two stages: a directory in the published schema, or the oracle's own."""

    directory: Path | None = None  # None: the simulated phone's oracle writes them
    count: int = 1000  # trajectories the oracle writes
    mistakes: float = 0.2  # share with a wrong step that is noticed and undone
    popups: float = 0.1  # mean number of pop-ups in a task
    # Which pixels the coordinates in `directory` are in: the screenshot's own, or those of an image that its annotators
    # resized it to; auto: the coordinates themselves tell, as far as they can.
    frame: FrameSetting = "auto"
    resizing: Resizing = PUBLISHED_RESIZING  # of those annotators, whatever this run's own is; [kin]


@dataclass(frozen=True)
class FormatFinetuning:
    """Stage 1: supervised finetuning on golden steps."""

    updates: int = 1000
    batch: int = 32  # steps an update
    micro_batch: int = 8  # in all stages rounded up to what the mesh splits rows into
    frozen: tuple[str, ...] = ()  # parts of the policy that do not learn, such as vision
    optimizer: OptimizerSettings = OptimizerSettings(learning_rate=1e-5)


@dataclass(frozen=True)
class ActionLevel:
    """Stage 2: GRPO on single steps, scored by rule against the golden next action."""

    annotations: Annotations | None = None  # golden steps of its own; None: those of format finetuning
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
    standardize: bool = True  # advantages by their group's deviation [kin]; False: not (Dr. GRPO)
    # What a turn's own step weighs beside its trajectory, where the phone can tell whether it led nearer to the goal
    # (as UI-S1 and verl-agent do); 0: all turns of a trajectory share its advantage.
    step_weight: float = 0.0
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
    mesh: str | None = None  # fsdp x tensor, or replicas x fsdp x tensor; None: all devices along fsdp
    compiled: Path | None = None  # keeps programs for the next start; None: on accelerators the user's cache directory
    system: str = SYSTEM_TEMPLATE  # over {instruction} and {tools}
    temperature: float = 1.0  # of sampling in both GRPO stages [kin]
    top_p: float = 1.0  # mass of likeliest tokens that all sampling, evaluation's too, draws from; 1: all of it [kin]
    top_k: int | None = None  # how many likeliest tokens it draws from; None: all [kin]
    save_every: int = 50  # updates between checkpoints
    resizing: Resizing = Resizing()
    shapes: Shapes = Shapes()
    precision: Precision = Precision()
    lora: LoRA | None = None  # adapters that learn in place of the weights, in all stages; None: the weights learn
    phones: Phones = Phones()
    annotations: Annotations = Annotations()
    format_finetuning: FormatFinetuning = FormatFinetuning()
    action_level: ActionLevel = ActionLevel()
    task_level: TaskLevel = TaskLevel()
    evaluation: Evaluation = Evaluation()

    @property
    def directory(self) -> Path:
        return self.folder / self.name

    @property
    def weights(self) -> str:
        """The dtype in which the policy's weights are held; those that adapters learn in place of are as they are
        used."""
        return self.precision.master if self.lora is None else self.precision.compute

    @property
    def slots(self) -> int:
        """Responses to phones that are under way at once."""
        return self.shapes.slots or self.phones.count


def parse_run(command: str, arguments: Sequence[str] | None = None) -> Run:
    """The Run that a command line asks for: its --config file (else configs/tiny.yaml), then its flags.

    What neither names is as in the dataclasses here. Raises ConfigError in one line for a key, value or file that is
    wrong.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    chosen = any(argument.split("=")[0] == "--config" for argument in arguments)
    parser = jsonargparse.ArgumentParser(
        prog=f"python -m mobile_r1_jax.{command}",
        description=__doc__,
        exit_on_error=False,
        allow_abbrev=False,
        default_config_files=[] if chosen else [str(TINY)],
    )
    parser.add_argument("--config", action="config", help="a YAML file of the fields below; later flags win over it")
    parser.add_class_arguments(Run, as_group=False)
    try:
        parsed = parser.parse_args(arguments)
        for field in fields(Run):
            if is_dataclass(field.type) and not isinstance(parsed[field.name], jsonargparse.Namespace):
                raise ConfigError(f"{field.name} is {parsed[field.name]!r}, but it has fields of its own")
        found = vars(parser.instantiate(parsed))
    except (argparse.ArgumentError, ValueError, TypeError) as error:
        raise ConfigError(f"{' '.join(str(error).split())}; --help lists every field") from error
    run = Run(**{field.name: found[field.name] for field in fields(Run)})
    if problem := next(problems(run), None):
        raise ConfigError(problem)
    return run


def problems(run: Run) -> Iterator[str]:
    """What no run could be made of, in words: field, value, and what it may be."""
    try:
        told = "{instruction}" in run.system and run.system.format(instruction="", tools="") is not None
    except (KeyError, IndexError, ValueError):
        told = False
    if not told:
        yield f"system must name {{instruction}}, may name {{tools}}, and doubles every other brace: {run.system!r}"
    for name in ("annotations", "action_level.annotations"):
        directory = getattr(attrgetter(name)(run), "directory", None)
        if directory is not None and not has_data(directory):
            yield f"{name}.directory: no {DATA} in {directory}; name a directory that holds it"
    there = sorted({template.app for template in TEMPLATES.values()})
    tested = sorted({template.app for template in TEMPLATES.values() if combinations(template, held_out=True)})
    for name in ("apps", "withheld_apps"):
        chosen = set(getattr(run.phones, name))
        if unknown := chosen - set(there):
            yield f"phones.{name}: there are no tasks for {min(unknown)!r}; choose from {', '.join(there)}"
        elif chosen and not chosen & set(tested):
            yield f"phones.{name}: no task of {min(chosen)!r} is held out for evaluation; add {' or '.join(tested)}"
    if not 0 < run.top_p <= 1:
        yield f"top_p is {run.top_p}; it must be above 0 and at most 1"
    for name, least in LEAST.items():
        value = attrgetter(name)(run)
        if value is not None and value < least:
            yield f"{name} is {value}; it must be at least {least}"


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
