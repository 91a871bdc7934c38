"""Checks of a run on several hosts, before anything expensive starts: one line says what differs, and where."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mobile_r1_jax.agent.whole_files import write_whole
from mobile_r1_jax.config import ConfigError, Run, to_plain
from mobile_r1_jax.phones.providers.shares import find_double, identities, listed, share_phones
from mobile_r1_jax.phones.settings import PhoneSettings
from mobile_r1_jax.run_directory import leaves
from mobile_r1_jax.runtime.hosts import Hosts

# Fields that may differ between hosts; the policy is compared by its files.
OF_HOST = (
    "hosts.",
    "phones.devices.",
    "policy",
    "compiled",
    "folder",
    "annotations.directory",
    "action_level.annotations.directory",
    "tasks",
)


def check_alike(run: Run, inputs: Mapping[str, str], hosts: Hosts) -> None:
    """Raise HostsError if hosts have other settings or files. inputs: hashes of the files that the run reads."""
    if hosts.count == 1:
        return
    settings = {name: str(value) for name, value in leaves(to_plain(asdict(run))).items()}
    facts = {name: value for name, value in settings.items() if not name.startswith(OF_HOST)}
    hosts.agree(facts | {f"the files of {name}": value for name, value in inputs.items()})


def check_updates(run: Run, hosts: Hosts) -> None:
    """Raise ConfigError if an update has too few items for the number of hosts."""
    parts = {
        "format_finetuning.batch": run.format_finetuning.batch,
        "action_level.prompts": run.action_level.prompts,
        "task_level.tasks * task_level.group": run.task_level.tasks * run.task_level.group,
    }
    for name, value in parts.items():
        if name.partition(".")[0] in run.stages and value < hosts.count:
            raise ConfigError(f"{name} is {value}, less than the {hosts.count} hosts; every host needs one")


def check_folder(run: Run, hosts: Hosts) -> None:
    """Raise ConfigError if a host does not see the run's folder of process 0: all hosts write into it."""
    if hosts.count == 1:
        return
    note = run.directory / "host-0.note"
    if hosts.first:
        write_whole(note, hosts.name)
    hosts.gather("note", None)
    seen = hosts.gather("seen", note.is_file())
    if hosts.first:
        note.unlink()
    if not all(seen):
        raise ConfigError(
            f"folder: process {seen.index(False)} does not see {run.directory} of process 0; all hosts write into it: "
            "name a --folder that all of them see, such as a network disk"
        )


def check_one_host(run: Run, hosts: Hosts) -> None:
    """Raise ConfigError for what one process alone can do: export a policy RUN:STAGE, answer annotated data."""
    if hosts.count == 1:
        return
    if not run.policy.exists() and ":" in str(run.policy):
        directory, _, stage = str(run.policy).rpartition(":")
        raise ConfigError(
            f"policy: several hosts do not export {run.policy}; run `python -m mobile_r1_jax.export {directory} "
            f"--stage={stage} --out=DIRECTORY` once, and start with --policy=DIRECTORY"
        )
    if run.evaluation.data is not None:
        raise ConfigError(
            "evaluation.data: several hosts do not answer it; run `python -m mobile_r1_jax.evaluate --data=DIRECTORY` "
            "on one host afterwards"
        )


def share_of_phones(run: Run, hosts: Hosts) -> tuple[PhoneSettings, int]:
    """Return `share_phones` for this host. Raise PhonesUnavailable, and ConfigError if two hosts name one phone."""
    settings, first = share_phones(run.phones, hosts.index, hosts.count)
    check_phones(listed(settings), hosts)
    return settings, first


def check_phones(phones: Sequence[Any], hosts: Hosts) -> None:
    """Raise ConfigError in one line if two hosts drive the same phone. Calls of it wait for all hosts' phones."""
    if hosts.count > 1 and (double := find_double(hosts.gather("phones", identities(phones)))):
        raise ConfigError(f"phones.devices.serials: {double}; list every phone on one host only")
