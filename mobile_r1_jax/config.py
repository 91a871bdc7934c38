"""A run, as frozen dataclasses: YAML files in configs/ hold them, and every field is also a flag.

    python -m mobile_r1_jax.launch --config=configs/tiny.yaml --task_level.updates=30 --mesh=8x1

Defaults are those of the published recipe where it is known ([paper], [kin]), else our own choice [ours].
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import jsonargparse
import yaml
from etils import epath

from mobile_r1_jax.agent.actions import ACTIONS, WITH_ANSWER, ActionRow
from mobile_r1_jax.agent.coordinates import FrameSetting
from mobile_r1_jax.agent.data_files import DATA, has_data
from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.agent.prompts import SYSTEM_TEMPLATE
from mobile_r1_jax.agent.screenshots import PUBLISHED_RESIZING, Resizing
from mobile_r1_jax.agent.whole_files import write_whole
from mobile_r1_jax.help import help_text
from mobile_r1_jax.limits import out_of_range, ranges
from mobile_r1_jax.model.lora_settings import LoRA
from mobile_r1_jax.phones.settings import SIMULATOR, GuardSettings, PhoneSettings
from mobile_r1_jax.rewards.action import StepRules
from mobile_r1_jax.rewards.judges import settings as judge_settings
from mobile_r1_jax.rewards.judges.settings import JudgeSettings
from mobile_r1_jax.rl import GRPO
from mobile_r1_jax.training.optimizer_settings import OptimizerSettings
from mobile_r1_jax.training.tracking_settings import TrackingSettings

SHIPPED = Path(__file__).resolve().parent  # has configs/ and assets/, in a checkout and in an installed package
TINY = SHIPPED / "configs" / "tiny.yaml"
CONFIG = "config.yaml"  # in a run directory
BUCKET_FOLDER = re.compile(r"gs://[a-z0-9][a-z0-9._-]+(/[^/]+)*/?")
# Old names of fields -> new names.
RENAMED = {
    "phones.apps": "phones.simulated.apps",
    "phones.withheld_apps": "phones.simulated.unseen_apps",
    "phones.popups": "phones.simulated.popups",
    "phones.size": "phones.simulated.size",
    "evaluation.withheld_episodes": "evaluation.unseen_app_episodes",
}


StageName = Literal["format_finetuning", "action_level", "task_level"]


class ConfigError(OneLineError):
    """A run that cannot start. One line says what is wrong, where, and how to fix it."""


@dataclass(frozen=True)
class Shapes:
    """Static shapes: each batch is padded to the smallest bucket that holds it; each bucket is compiled once."""

    prompt_tokens: Annotated[tuple[int, ...], "[1, inf)"] = (1536, 2560)  # buckets of prompt lengths, in tokens (P)
    response_tokens: Annotated[int, "[1, inf)"] = 512  # most tokens of a response (C); [kin] 2048 to 4096
    # buckets of 112x112-pixel windows in a row of screens (W)
    windows: Annotated[tuple[int, ...], "[1, inf)"] = (48, 64)
    # largest number of rows of screens that are encoded at once while the vision tower is frozen
    screens: Annotated[int, "[1, inf)"] = 8
    # responses that are decoded at once; null: one for each phone
    slots: Annotated[int | None, "[1, inf)"] = None
    keep_keys: bool = True  # reuse the KV cache of common prompt prefixes; a small policy recomputes them faster


@dataclass(frozen=True)
class Precision:
    """Data types, and what the backward pass recomputes."""

    compute: Literal["float32", "bfloat16"] = "float32"  # dtype of activations and of weights in computation
    # dtype of stored weights, gradients and second moments; bfloat16 uses stochastic rounding; adapters stay float32
    master: Literal["float32", "bfloat16"] = "float32"
    remat: Literal["none", "matmuls", "full"] = "none"  # what the backward pass recomputes instead of storing


@dataclass(frozen=True)
class Annotations:
    """Annotated trajectories for the first two stages: from a directory, or written by the oracle."""

    directory: Path | None = None  # directory with data.jsonl and images/; null: the oracle writes trajectories
    # several such directories that train together -> the weight of each: its steps are drawn in proportion to it
    mixture: Annotated[dict[str, float] | None, "(0, inf)"] = None
    count: Annotated[int, "[1, inf)"] = 1000  # trajectories that the oracle writes
    mistakes: Annotated[float, "[0, 1]"] = 0.2  # share of them with a wrong step that is undone
    popups: Annotated[float, "[0, 100]"] = 0.1  # mean number of pop-ups in a task
    frame: FrameSetting = "auto"  # pixels of its coordinates: of the screenshot, or of a resized image; auto: detect
    resizing: Resizing = PUBLISHED_RESIZING  # How its annotators resized screenshots. [kin]

    @property
    def directories(self) -> tuple[Path, ...]:
        """Return the user's directories; empty if the oracle writes the trajectories."""
        named = self.mixture or ([] if self.directory is None else [self.directory])
        return tuple(map(Path, named))


@dataclass(frozen=True)
class FormatFinetuning:
    """Stage 1: supervised finetuning on golden steps."""

    updates: Annotated[int, "[0, inf)"] = 1000  # updates of the stage
    batch: Annotated[int, "[1, inf)"] = 32  # steps in an update
    # steps computed at once; every stage rounds it up to a multiple that the mesh divides
    micro_batch: Annotated[int, "[1, inf)"] = 8
    frozen: tuple[str, ...] = ()  # parts of the policy that are not trained, such as vision
    optimizer: OptimizerSettings = OptimizerSettings(learning_rate=1e-5)  # Its optimizer.


@dataclass(frozen=True)
class ActionLevel:
    """Stage 2: GRPO on single steps, with a rule-based reward."""

    annotations: Annotations | None = None  # Its own golden steps; null: those of format finetuning.
    updates: Annotated[int, "[0, inf)"] = 500  # updates of the stage
    prompts: Annotated[int, "[1, inf)"] = 8  # groups in an update
    micro_batch: Annotated[int, "[1, inf)"] = 8  # prompts computed at once
    group: Annotated[int, "[2, inf)"] = 4  # completions of a prompt [kin]
    loss: GRPO = GRPO()  # Its loss.
    rules: StepRules = StepRules()  # The comparison of an answer with the golden action.
    optimizer: OptimizerSettings = OptimizerSettings(learning_rate=1e-6)  # Its optimizer.


@dataclass(frozen=True)
class TaskLevel:
    """Stage 3: GRPO over whole trajectories on live phones."""

    updates: Annotated[int, "[0, inf)"] = 40  # updates of the stage; [paper] only tens
    tasks: Annotated[int, "[1, inf)"] = 8  # groups in an update
    micro_batch: Annotated[int, "[1, inf)"] = 8  # turns computed at once
    group: Annotated[int, "[2, inf)"] = 4  # episodes of a task [kin]
    standardize: bool = True  # divide advantages by their group's standard deviation [kin]; false: do not (Dr. GRPO)
    # weight of the advantage of a turn's own step, if the phone reports progress; 0: none [UI-S1, verl-agent]
    step_weight: Annotated[float, "[0, inf)"] = 0.0
    loss: GRPO = GRPO()  # Its loss.
    optimizer: OptimizerSettings = OptimizerSettings(learning_rate=1e-6)  # Its optimizer.


@dataclass(frozen=True)
class Evaluation:
    """Episodes on held-out tasks, before and after each stage."""

    episodes: Annotated[int, "[0, inf)"] = 200  # episodes on held-out tasks
    unseen_app_episodes: Annotated[int, "[0, inf)"] = 60  # episodes on tasks of apps that training does not use
    repeats: Annotated[int, "[1, inf)"] = 1  # episodes of each held-out task (K); above 1 the table has pass@K
    temperature: Annotated[float, "[0, inf)"] = 0.0  # sampling temperature; 0 is greedy
    # directory of annotated trajectories whose steps are answered as well, greedily; null: none
    data: Path | None = None
    data_frame: FrameSetting = "auto"  # pixels of its coordinates: see annotations.frame


@dataclass(frozen=True)
class HostSettings:
    """The processes of a run on several hosts, if no start tool defines them. They may differ in every start."""

    coordinator: str | None = None  # HOST:PORT at which process 0 listens; null: as the start tool says
    count: Annotated[int | None, "[1, inf)"] = None  # processes; null: as the start tool says; 1: this one alone
    index: Annotated[int | None, "[0, inf)"] = None  # number of this process; null: as the start tool says
    wait: Annotated[float, "(0, inf)"] = 300.0  # seconds to wait for the other processes at the start


@dataclass(frozen=True)
class Run:
    """All settings of a run."""

    name: str = "run"  # name of the run; a run with the name of an earlier run continues it
    folder: Path = Path("runs")  # the run directory is folder/name
    # a Qwen2.5-VL checkpoint in Hugging Face format, PEFT adapters of one, or RUN:STAGE (runs/tiny:action_level)
    policy: Path = Path("assets/tiny-base")
    policy_base: Path | None = None  # the base checkpoint of the adapters; null: the one in their own config
    tasks: str = SIMULATOR  # simulator, for its own tasks, or a task file (docs/howto/my-tasks.md)
    stages: tuple[StageName, ...] = get_args(StageName)  # stages to run, in the order of the recipe
    seed: Annotated[int, "[0, inf)"] = 0  # seed of data, tasks and sampling
    mesh: str | None = None  # fsdp x tensor, or replicas x fsdp x tensor; null: all devices along fsdp
    compiled: Path | None = None  # folder for compiled programs; null: the user's cache directory, only on accelerators
    system: str = SYSTEM_TEMPLATE  # template of the system message, with {instruction} and {tools}
    answer: bool = False  # the action space has answer(text), which tells the user something
    tell_effects: bool = True  # prompts state the effect of the last action, such as "no key is called 'x'"
    temperature: Annotated[float, "(0, inf)"] = 1.0  # sampling temperature of both GRPO stages [kin]
    # sample only from the most likely tokens with this total probability; 1: all [kin]
    top_p: Annotated[float, "(0, 1]"] = 1.0
    # sample only from this many most likely tokens; null: all [kin]
    top_k: Annotated[int | None, "[1, inf)"] = None
    # gs://BUCKET/FOLDER: checkpoints lie there, in a folder of the run's name; null: in the run directory
    checkpoints: str | None = None
    save_every: Annotated[int, "[1, inf)"] = 50  # updates between checkpoints
    keep: Annotated[int, "[1, inf)"] = 2  # newest checkpoints of a stage that are kept
    # keep every checkpoint whose number of updates is a multiple of this too; null: none
    keep_every: Annotated[int | None, "[1, inf)"] = None
    resizing: Resizing = Resizing()  # How screenshots become model images.
    shapes: Shapes = Shapes()  # Static shapes; each bucket is compiled once.
    precision: Precision = Precision()  # Data types, and what the backward pass recomputes.
    lora: LoRA | None = None  # Adapters that are trained instead of the weights, in all stages.
    phones: PhoneSettings = PhoneSettings()  # The phones for training and evaluation.
    guard: GuardSettings = GuardSettings()  # What is refused on devices and emulators. (docs/howto/guard.md)
    annotations: Annotations = Annotations()  # Annotated trajectories for the first two stages.
    format_finetuning: FormatFinetuning = FormatFinetuning()  # Stage 1: supervised finetuning on golden steps.
    action_level: ActionLevel = ActionLevel()  # Stage 2: GRPO on single steps, with a rule-based reward.
    task_level: TaskLevel = TaskLevel()  # Stage 3: GRPO over whole trajectories on live phones.
    judge: JudgeSettings = JudgeSettings()  # The judge that grades the episodes of the task-level stage.
    evaluation: Evaluation = Evaluation()  # Episodes on held-out tasks, before and after each stage.
    hosts: HostSettings = HostSettings()  # The processes of a run on several hosts.
    tracking: TrackingSettings = TrackingSettings()  # Weights & Biases, in addition to TensorBoard.

    @property
    def directory(self) -> Path:
        """Return the run directory."""
        return self.folder / self.name

    @property
    def checkpoint_folder(self) -> epath.Path:
        """Return the folder of checkpoints, with a folder for each stage."""
        return checkpoint_folder(self.directory, self.checkpoints, self.name)

    @property
    def weights(self) -> str:
        """Return the dtype of the stored weights. With adapters the weights are frozen and stored as they are used."""
        return self.precision.master if self.lora is None else self.precision.compute

    @property
    def actions(self) -> Mapping[str, ActionRow]:
        """Return the action space."""
        return WITH_ANSWER if self.answer else ACTIONS

    @property
    def slots(self) -> int:
        """Return the number of responses that are decoded at once."""
        return self.shapes.slots or self.phones.expected


def checkpoint_folder(directory: Path, checkpoints: str | None, name: str) -> epath.Path:
    """Return the folder of checkpoints of a run: its directory, and its settings `checkpoints` and `name`."""
    return epath.Path(directory / "checkpoints" if checkpoints is None else f"{checkpoints.rstrip('/')}/{name}")


def parse_run(command: str, arguments: Sequence[str] | None = None) -> Run:
    """Return the Run of a command line: its --config file (default: configs/tiny.yaml), then its flags.

    Other fields have the defaults of the dataclasses. If --config or --policy is a missing path, the files that come
    with the project are tried. Raise ConfigError in one line for a wrong key, value or file.
    """
    arguments = [resolve_config_flag(argument) for argument in (sys.argv[1:] if arguments is None else arguments)]
    parser = jsonargparse.ArgumentParser(
        prog=f"python -m mobile_r1_jax.{command}",
        exit_on_error=False,
        allow_abbrev=False,
        default_config_files=[] if names_config(arguments) else [str(TINY)],
    )
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(Run, as_group=False)
    try:
        parsed = parser.parse_args(arguments)
        for field in fields(Run):
            if is_dataclass(field.type) and not isinstance(parsed[field.name], jsonargparse.Namespace):
                raise ConfigError(f"{field.name} is {parsed[field.name]!r}, but it has fields of its own")
        if problem := next(out_of_range(parsed.items(), dict(ranges(Run))), None):
            raise ConfigError(problem)
        values = vars(parser.instantiate(parsed))
    except (argparse.ArgumentError, ValueError, TypeError) as error:
        message = " ".join(str(error).split())
        for old, new in RENAMED.items():
            section, _, field = old.rpartition(".")
            if re.search(rf"\b{re.escape(old)}\b|'{section}' does not accept option '{field}'", message):
                raise ConfigError(f"{old} is called {new} now") from error
        raise ConfigError(f"{message}; --help lists every field") from error
    run = Run(**{field.name: values[field.name] for field in fields(Run)})
    tasks = run.tasks if run.tasks == SIMULATOR else str(resolve_path(Path(run.tasks)))
    run = replace(run, policy=resolve_path(run.policy), tasks=tasks)
    if problem := next(find_problems(run), None):
        raise ConfigError(problem)
    return run


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Return whether a command line asks for --help."""
    return not {"-h", "--help"}.isdisjoint(arguments)


def help_of(command: str, description: str, arguments: Sequence[str]) -> str:
    """Return the text of a command's --help, with the values of the other arguments; description: see `help_text`."""
    others = [argument for argument in arguments if argument not in ("-h", "--help")]
    origin = "of --config" if names_config(others) else "of configs/tiny.yaml"
    try:
        return help_text(command, description, parse_run(command, others), origin)
    except ConfigError:
        return help_text(command, description, Run(), "the default")


def names_config(arguments: Sequence[str]) -> bool:
    """Return whether a command line has --config."""
    return any(argument.split("=")[0] == "--config" for argument in arguments)


def resolve_path(path: Path) -> Path:
    """Return `path`, or if it is missing, the file or folder of that name that comes with the project."""
    return SHIPPED / path if not path.exists() and (SHIPPED / path).exists() else path


def resolve_config_flag(argument: str) -> str:
    """Return an argument of a command line; in `--config=FILE`, FILE may come with the project (`resolve_path`)."""
    name, _, file = argument.partition("=")
    return f"--config={resolve_path(Path(file))}" if name == "--config" and file else argument


def find_problems(run: Run) -> Iterator[str]:
    """Yield a message for each field with an impossible value: the field, its value, and what it may be."""
    try:
        is_valid = "{instruction}" in run.system and run.system.format(instruction="", tools="") is not None
    except (KeyError, IndexError, ValueError):
        is_valid = False
    if not is_valid:
        yield f"system must name {{instruction}}, may name {{tools}}, and doubles every other brace: {run.system!r}"
    names = get_args(StageName)
    if not run.stages or run.stages != tuple(name for name in names if name in run.stages):
        yield f"stages is [{', '.join(run.stages)}]; name some of [{', '.join(names)}], once each and in this order"
    if not run.phones.source or len(set(run.phones.source)) < len(run.phones.source):
        yield f"phones.source is [{', '.join(run.phones.source)}]; name each source once: simulated, devices, emulators"
    if run.checkpoints is not None and not BUCKET_FOLDER.fullmatch(run.checkpoints):
        yield (
            f"checkpoints is {run.checkpoints!r}; name a folder of a bucket, gs://BUCKET/FOLDER, or leave it out: the "
            "run directory holds them then"
        )
    yield from (f"judge.{problem}" for problem in judge_settings.find_problems(run.judge))
    for name in ("annotations", "action_level.annotations"):
        if (settings := attrgetter(name)(run)) is None:
            continue
        field = "directory" if settings.mixture is None else "mixture"
        if settings.directory is not None and settings.mixture is not None:
            yield f"{name}.mixture: {name}.directory is set as well; put every directory into the mixture"
        for directory in settings.directories:
            if not has_data(directory):
                yield f"{name}.{field}: no {DATA} in {directory}; name a directory that holds it"
    if run.evaluation.data is not None and not has_data(run.evaluation.data):
        yield f"evaluation.data: no {DATA} in {run.evaluation.data}; name a directory that holds it"


def save_run(run: Run) -> None:
    """Write the run as config.yaml into its directory, atomically; `--config` accepts the file.

    The file leaves out the processes of the run, because the next start may have others."""
    values = to_plain(asdict(run))
    del values["hosts"]
    run.directory.mkdir(parents=True, exist_ok=True)
    write_whole(run.directory / CONFIG, yaml.safe_dump(values, allow_unicode=True, sort_keys=False))


def to_plain(value: Any) -> Any:
    """Return a value with the types of YAML and JSON: tuples become lists, paths become text."""
    if isinstance(value, dict):
        return {name: to_plain(part) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value
