"""Export of the policy that a run has trained: from the Orbax checkpoint of a stage to a model directory.

Weights go from the checkpoint into the files one part at a time, so the export needs little memory for any policy size.
"""

import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mobile_r1_jax.config import CONFIG as CONFIG_FILE
from mobile_r1_jax.config import ConfigError, Run
from mobile_r1_jax.model.checkpoints.huggingface import parameter_shapes, policy_config, stored_weights, write_model
from mobile_r1_jax.model.checkpoints.model_directory import find_model
from mobile_r1_jax.model.checkpoints.peft import CONFIG, write_adapters
from mobile_r1_jax.model.identity import policy_files_hash
from mobile_r1_jax.model.lora import Matrices, adapter_shapes, merge_on_read
from mobile_r1_jax.model.lora_settings import PROJECTIONS, LoRA
from mobile_r1_jax.run_directory import EXPORTED
from mobile_r1_jax.saved_run import agent_of_run, initial_base, initial_policy, saved_checkpoints, trained_lora
from mobile_r1_jax.stages.declaration import STAGES
from mobile_r1_jax.training.checkpoint_storage import entries, prepare_storage
from mobile_r1_jax.training.checkpoints import NoCheckpointError, stored_parameters


def export(
    run: Path,
    out: Path,
    *,
    stage: str | None = None,
    dtype: str | None = None,
    policy: Path | None = None,
    peft: bool = False,
) -> str:
    """Write the policy of the run directory `run` into `out`; return a line about what was written.

    stage: whose last checkpoint to take; None: the latest stage that has one. dtype: of the weights; None: that of the
    policy that the run began with, or float32 with peft. policy: the directory of that policy, if it has moved. peft:
    write only the adapters. `out` is created atomically. Raise ValueError or OSError, in one line.
    """
    _check_new(out)
    policy, lora = initial_policy(run) if policy is None else policy, trained_lora(run)
    adapted = (policy / CONFIG).is_file()  # the run began with PEFT adapters
    base = initial_base(run) if adapted else None
    if peft and lora is None:
        raise ValueError(f"{run} trained no adapters but the weights themselves; leave --peft out")
    if peft and adapted:
        raise ValueError(f"the run began with the adapters in {policy}, which --peft cannot stack; leave --peft out")
    source = find_model(policy, base)
    values, config = source.config_json(), source.config() if lora is None else policy_config(policy, base)
    dtype = dtype or ("float32" if peft else values.get("dtype") or values.get("torch_dtype") or "bfloat16")
    stage, step, stored = latest_checkpoint(run, stage)
    if "text.head" in stored:  # untied, though config.json may say otherwise (`stored_policy.open_policy`)
        config = replace(config, text=replace(config.text, tied=False))
    shapes = parameter_shapes(config)
    learnt = shapes if lora is None else adapter_shapes(config, lora)
    if problems := differences({path: array.shape for path, array in stored.items()}, learnt):
        raise ValueError(f"the checkpoint of {stage} is not of the architecture of {policy}: {'; '.join(problems)}")
    with _created(out) as draft:
        if lora is None:
            write_model(draft, config, shapes, partial(_read, stored), dtype=dtype, like=policy, base=base)
        elif peft:
            write_adapters(draft, _matrices(stored, lora), lora, base=str(policy), dtype=np.dtype(dtype))
        else:
            with stored_weights(policy, base) as read:
                merged = merge_on_read(read, _matrices(stored, lora))
                write_model(draft, config, shapes, merged, dtype=dtype, like=policy, base=base)
        if agent := agent_of_run(run):
            agent.write(draft)
    files = list(out.glob("*.safetensors"))
    size = sum(file.stat().st_size for file in files)
    return f"{out}: {stage} after {step} updates, {dtype}, {format_size(size)} in {len(files)} file(s)"


def _check_new(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there already; choose a new directory for --out")


@contextmanager
def _created(out: Path) -> Iterator[Path]:
    """Yield a draft of a directory, which becomes the directory at the end. Other processes may export the same."""
    draft = out.with_name(f"{out.name}.{socket.gethostname()}-{os.getpid()}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        yield draft
        _check_new(out)
        draft.replace(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def find_policy(name: Path) -> Path:
    """Return the directory of the policy `name`: itself, or for RUN:STAGE an export of the stage's last checkpoint.

    The export is written into RUN/exported unless it is there already. Raise ValueError or OSError in one line."""
    directory, _, stage = str(name).rpartition(":")
    if name.exists() or not (Path(directory) / CONFIG_FILE).is_file():
        return name
    if stage not in STAGES:
        raise ValueError(f"{name}: there is no stage {stage!r}; choose from {', '.join(STAGES)}")
    run = Path(directory)
    _, step, _ = latest_checkpoint(run, stage)
    out = run / EXPORTED / f"{stage}-{step}"
    if not out.is_dir():
        try:
            export(run, out, stage=stage)
        except ValueError:
            if not out.is_dir():  # else another process has exported it
                raise
    return out


def find_and_hash_policy(run: Run) -> tuple[Run, str]:
    """Return the run with the directory of its policy (`find_policy`), and the hash of the policy's files.

    Raise ConfigError if they are missing."""
    try:
        run = replace(run, policy=find_policy(run.policy))
        return run, policy_files_hash(*find_model(run.policy, run.policy_base).directories)
    except (ValueError, OSError) as error:
        raise ConfigError(f"policy: {error}") from error


def format_size(size: int) -> str:
    """Return a number of bytes with a unit and three digits: "512 bytes", "8.19 MB", "6.04 GB"."""
    if size < 1000:
        return f"{size} bytes"
    digits = f"{size:.2e}"  # rounded before the unit is chosen: 999,999 bytes are 1 MB
    power = min(int(digits[-2:]) // 3, 4)
    return f"{float(digits) / 1000**power:.3g} {' kMGT'[power]}B"


def latest_checkpoint(run: Path, stage: str | None) -> tuple[str, int, Mapping]:
    """Return (stage, updates, stored parameters) of the given stage, or of the latest stage with a checkpoint."""
    folder = saved_checkpoints(run)
    prepare_storage(folder, write=False)
    for name in [stage] if stage else reversed(STAGES):
        try:
            return name, *stored_parameters(folder / name)
        except NoCheckpointError:
            continue
    there = ", ".join(part.name for part in entries(folder) if part.is_dir()) or "none"
    raise ValueError(f"no finished checkpoint of {stage or 'any stage'} in {run}; stages begun: {there}")


def _read(stored: Mapping[str, Any], path: str, layer: int | None) -> Any:
    return stored[path] if layer is None else stored[path][layer]


def _matrices(stored: Mapping[str, Any], lora: LoRA) -> dict[str, Matrices]:
    """Return the adapters in a checkpoint in the format of `lora.adapters_of`."""
    paths = [PROJECTIONS[name] for name in lora.projections]
    return {path: (stored[f"{path}.adapter.a"], stored[f"{path}.adapter.b"], lora.scale) for path in paths}


def differences(stored: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return a line for each parameter that is missing, extra or of another shape."""
    return [
        *(f"missing {path} {wanted[path]}" for path in sorted(wanted.keys() - stored.keys())),
        *(f"extra {path}" for path in sorted(stored.keys() - wanted.keys())),
        *(
            f"{path} is {stored[path]}, need {wanted[path]}"
            for path in sorted(wanted.keys() & stored.keys())
            if stored[path] != wanted[path]
        ),
    ]
