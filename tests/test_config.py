"""Runs from YAML files and flags: every mistake is a one-line error, and a saved run is read unchanged."""

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from math import inf
from operator import attrgetter
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import yaml

from mobile_r1_jax.config import TINY, ConfigError, Run, parse_run, save_run
from mobile_r1_jax.limits import parse_range, ranges
from mobile_r1_jax.model.lora_settings import LoRA
from mobile_r1_jax.phones.settings import SimulatedSettings
from mobile_r1_jax.rl import GRPO

CONFIGS = sorted(TINY.parent.glob("*.yaml"))


def leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Return every field that is not a dataclass, by its dotted name."""
    if not is_dataclass(value):
        return {name: value}
    return {
        inner: leaf
        for field in fields(value)
        for inner, leaf in leaves(getattr(value, field.name), f"{name}.{field.name}".removeprefix(".")).items()
    }


def as_flag(name: str, value: Any) -> str:
    if isinstance(value, Path | str):
        return f"--{name}={value}"
    return f"--{name}={yaml.safe_dump(list(value) if isinstance(value, tuple) else value, default_flow_style=True)}"


def config(folder: Path, text: str) -> str:
    (folder / "run.yaml").write_text(text)
    return f"--config={folder / 'run.yaml'}"


def refusal(*arguments: str) -> str:
    """Return the one-line error about a wrong run."""
    with pytest.raises(ConfigError) as caught:
        parse_run("launch", arguments)
    assert str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def changed(run: Run) -> Run:
    """Return a run that differs from the defaults in every kind of field."""
    return replace(
        run,
        name="名字",
        policy=Path("somewhere/else"),
        policy_base=Path("somewhere/base"),
        temperature=0.7,
        top_p=0.9,
        top_k=40,
        system="Two lines:\n{instruction} {{}}",
        phones=replace(run.phones, simulated=SimulatedSettings(apps=("clock",), size=(720, 1280), popups=1e-3)),
        shapes=replace(run.shapes, prompt_tokens=(1, 2, 3)),
        lora=LoRA(rank=8, projections=("q", "down")),
        task_level=replace(run.task_level, loss=GRPO(beta=0.125, kl="k1"), updates=0),
    )


def test_run_without_arguments_is_the_demo() -> None:
    run = parse_run("launch", [])
    assert run.name == "tiny" and run.phones.simulated.size == (112, 224)
    assert run == parse_run("launch", [f"--config={TINY}"])


def test_missing_fields_of_a_file_have_the_defaults_of_the_recipe(tmp_path: Path) -> None:
    run = parse_run("launch", [config(tmp_path, "phones: {count: 3}")])
    assert run == replace(Run(), phones=replace(Run().phones, count=3))


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    arguments = [config(tmp_path, "seed: 3\nphones: {count: 3, simulated: {popups: 2.0}}"), "--phones.count=4"]
    run = parse_run("launch", arguments)
    assert (run.seed, run.phones.count, run.phones.simulated.popups) == (3, 4, 2.0)


def test_section_can_be_given_as_one_value() -> None:
    assert parse_run("launch", ["--task_level.loss={beta: 0.5}"]).task_level.loss == GRPO(beta=0.5)


def test_every_field_is_a_flag() -> None:
    wanted = changed(parse_run("launch", []))
    flags = [as_flag(name, value) for name, value in leaves(wanted).items()]
    assert len(flags) > 60
    assert parse_run("launch", flags) == wanted


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_of_the_project_can_be_read_and_saved_and_read_again(path: Path, tmp_path: Path) -> None:
    run = parse_run("launch", [f"--config={path}", f"--folder={tmp_path}"])
    save_run(run)
    assert parse_run("launch", [f"--config={run.directory / 'config.yaml'}"]) == run


def test_saved_run_is_read_unchanged(tmp_path: Path) -> None:
    run = replace(changed(Run()), folder=tmp_path)
    save_run(run)
    assert parse_run("evaluate", [f"--config={tmp_path / '名字' / 'config.yaml'}"]) == run
    assert all(name in (tmp_path / "名字" / "config.yaml").read_text() for name in ("名字", "kl: k1", "learning_rate"))


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--nope=3", "--nope=3"),
        ("--phones.cou=3", "--phones.cou=3"),  # the error does not guess the intended field
        ("tiny", "tiny"),
        ("--stages=[]", "stages is []; name some of"),
        ("--stages=[task_level,action_level]", "once each and in this order"),
        ("--stages=[action_level,action_level]", "once each and in this order"),
        ("--stages=[third]", "stages"),
        ("--phones.count=many", "phones.count"),
        ("--seed=1.5", "seed"),
        ("--phones.simulated.size=[112]", "phones.simulated.size"),
        ("--phones=3", "phones"),
        ("--format_finetuning.optimizer.learning_rate=fast", "learning_rate"),
        ("--task_level.loss.kl=k9", "task_level.loss.kl"),
        ("--task_level.loss.beta=-1", "beta"),
        ("--resizing.scale=-1", "scale"),
        ("--lora.rank=0", "lora.rank is 0; it must be at least 1"),
        ("--lora.projections=[qkv]", "qkv"),
        ("--lora=3", "lora"),
        ("--top_p=0", "top_p is 0.0; it must be above 0 and at most 1"),
        ("--top_p=1.5", "top_p is 1.5"),
        ("--phones.apps=[shop]", "phones.apps is called phones.simulated.apps now"),
        ("--phones.withheld_apps=[]", "phones.withheld_apps is called phones.simulated.unseen_apps now"),
        ("--evaluation.withheld_episodes=3", "is called evaluation.unseen_app_episodes now"),
        ("--phones.simulated.unseen_apps=[]x", "unseen_apps"),
        ("--system=Do it.", "{instruction}"),
        ("--system={instruction} {other}", "system"),
        ("--system={instruction} {", "system"),
    ],
)
def test_wrong_flag_is_named(flag: str, said: str) -> None:
    assert said in refusal(flag)


def numbers(kind: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted name and type of every numeric field of a run, including optional sections."""
    if union := [option for option in get_args(kind) if option is not NoneType] if NoneType in get_args(kind) else None:
        kind = union[0]
    if is_dataclass(kind):
        for field, inner in get_type_hints(kind).items():
            yield from numbers(inner, f"{name}.{field}".removeprefix("."))
    elif {kind, *get_args(kind)} & {int, float}:
        yield name, kind


NUMBERS, LIMITS = dict(numbers(Run)), dict(ranges(Run))


def test_every_number_has_limits() -> None:
    assert NUMBERS.keys() == LIMITS.keys()


@pytest.mark.parametrize("interval", ["", "[0, 1", "0, 1", "[1,2]", "[0, nan)"])
def test_limits_with_a_typing_error_are_refused(interval: str) -> None:
    with pytest.raises(ValueError, match="is not an interval"):
        parse_range(interval, whole=False)


@pytest.mark.parametrize("name", NUMBERS)
def test_number_outside_its_limits_is_refused_with_its_full_name(name: str) -> None:
    """Values for every number of a run: below and above its limits, infinite, and NaN."""
    limit = LIMITS[name]
    wrong = [-1, limit.least - 1] + ([limit.least] if limit.above else [])
    wrong += [] if limit.most == inf else [limit.most if limit.below else limit.most + 1]
    if NUMBERS[name] is float:
        wrong += [".nan", ".inf", "-.inf"]
    for value in wrong:
        written = f"[{value}, {value}]" if get_args(NUMBERS[name]) else value
        written = f"{{a: {value}}}" if get_origin(NUMBERS[name]) is dict else written
        flags = ["--annotations.resizing={}"] if name.startswith("annotations.resizing.") else []
        said = refusal(*flags, f"--{name}={written}")
        assert said.startswith(f"{name} is ") and f"; it must be {limit}" in said


@pytest.mark.parametrize("name", ["shapes.prompt_tokens", "shapes.windows"])
def test_empty_buckets_are_refused(name: str) -> None:
    assert refusal(f"--{name}=[]").startswith(f"{name} is empty; name at least one number")


def test_limits_include_their_ends() -> None:
    ends = {
        "task_level.updates": 0,
        "top_k": 1,
        "annotations.mistakes": 1.0,
        "seed": 2**31 - 1,
        "action_level.group": 2,
    }
    run = parse_run("launch", [f"--{name}={value}" for name, value in ends.items()])
    assert {name: attrgetter(name)(run) for name in ends} == ends


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nope: 3", "nope"),
        ("phones: {cout: 3}", "cout"),
        ("phones: {popups: 3}", "phones.popups is called phones.simulated.popups now"),
        ("phones: 3", "phones"),
        ("phones: {count: many}", "phones.count"),
        ("- name", "name"),
        ("phones: [", "line"),
        ("\tname: x", "line"),
    ],
)
def test_wrong_file_is_a_one_line_error(text: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(config(tmp_path, text))


def test_missing_files_are_named(tmp_path: Path) -> None:
    assert "nosuch.yaml" in refusal(f"--config={tmp_path / 'nosuch.yaml'}")


@pytest.mark.parametrize("name", ["annotations", "action_level.annotations"])
def test_directory_of_annotations_must_contain_a_data_file(name: str, tmp_path: Path) -> None:
    said = refusal(f"--{name}.directory={tmp_path}")
    assert said == f"{name}.directory: no data.jsonl in {tmp_path}; name a directory that holds it"
    (tmp_path / "data.jsonl").touch()
    assert attrgetter(name)(parse_run("launch", [f"--{name}.directory={tmp_path}"])).directory == tmp_path


@pytest.mark.parametrize("name", ["annotations", "action_level.annotations"])
def test_a_mixture_names_directories_with_data_and_weights_above_0(name: str, tmp_path: Path) -> None:
    for part in "ab":
        (tmp_path / part).mkdir()
    (tmp_path / "a" / "data.jsonl").touch()

    def flag(**weights: float) -> str:
        return f"--{name}.mixture={json.dumps({str(tmp_path / part): weight for part, weight in weights.items()})}"

    assert attrgetter(name)(parse_run("launch", [flag(a=2.5)])).directories == (tmp_path / "a",)
    assert refusal(flag(a=1, b=1)).startswith(f"{name}.mixture: no data.jsonl in {tmp_path / 'b'}")
    for weight in (0, -1):
        said = refusal(flag(a=1, b=weight))
        assert said.startswith(f"{name}.mixture is ") and "it must be above 0 and finite" in said
    assert "is set as well" in refusal(flag(a=1), f"--{name}.directory={tmp_path / 'a'}")
