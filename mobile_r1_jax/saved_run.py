"""Fields of the config.yaml in a run directory, for commands that read an earlier run."""

from pathlib import Path

import yaml
from etils import epath

from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.agent.settings import AgentSettings
from mobile_r1_jax.config import CONFIG, checkpoint_folder
from mobile_r1_jax.model.lora_settings import LoRA


def initial_policy(run: Path) -> Path:
    """Return the policy in a run's config.yaml. Raise ValueError if the file or the policy is missing."""
    file = run / CONFIG
    if not file.is_file():
        raise ValueError(f"no {CONFIG} in {run}; name a run directory, such as runs/tiny")
    policy = Path(yaml.safe_load(file.read_text())["policy"])
    if not policy.is_dir():
        raise ValueError(f"the run began with {policy}, which is not there; say where it is now by --policy=DIR")
    return policy


def initial_base(run: Path) -> Path | None:
    """Return policy_base in a run's config.yaml: the base of the adapters that the run began with. None if not set."""
    file = run / CONFIG
    base = yaml.safe_load(file.read_text()).get("policy_base") if file.is_file() else None
    return None if base is None else Path(base)


def saved_checkpoints(run: Path) -> epath.Path:
    """Return the folder of the checkpoints of a run, by its config.yaml. Without the file: in the run directory."""
    file = run / CONFIG
    values = yaml.safe_load(file.read_text()) if file.is_file() else {}
    return checkpoint_folder(run, values.get("checkpoints"), values.get("name", run.name))


def agent_of_run(run: Path) -> AgentSettings | None:
    """Return the agent settings in a run's config.yaml, or None if it has none."""
    file = run / CONFIG
    values = yaml.safe_load(file.read_text()) if file.is_file() else {}
    if "system" not in values or "resizing" not in values:
        return None
    return AgentSettings(
        values["system"],
        Resizing(**values["resizing"]),
        answer=values.get("answer", False),
        response_tokens=values.get("shapes", {}).get("response_tokens", AgentSettings.response_tokens),
        tell_effects=values.get("tell_effects", False),
    )


def trained_lora(run: Path) -> LoRA | None:
    """Return the adapter settings in a run's config.yaml, or None if the run trained the weights themselves."""
    file = run / CONFIG
    values = yaml.safe_load(file.read_text()).get("lora") if file.is_file() else None
    return None if values is None else LoRA(**{**values, "projections": tuple(values["projections"])})
