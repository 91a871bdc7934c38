"""The command `cmd`, which calls a service by name. Only simulated phones have the service `cmd simulator`."""

import json

from mobile_r1_jax.phones.simulator.android.commands.apps import HOME_CATEGORY
from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import Android
from mobile_r1_jax.phones.simulator.named_tasks import find_task, list_tasks
from mobile_r1_jax.phones.simulator.trouble import read_trouble


def cmd(android: Android, arguments: list[str], stdin: bytes) -> Result:
    service, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if service == "simulator":
        return _simulator(android, rest)
    if service == "package" and rest[:1] == ["resolve-activity"]:
        return _resolve_activity(android, rest[1:])
    return failed(f"cmd: Can't find service: {service}", 20)


def _simulator(android: Android, arguments: list[str]) -> Result:
    """Run `reset JSON`, which starts a task, `state`, `progress`, or `trouble [JSON]`. Each prints one line of JSON.

    `trouble JSON` chooses trouble; `trouble` prints kind -> how often it began since then. `tasks` lists tasks by name,
    and `task NAME` starts one. These two print text.
    """
    verb = arguments[0] if arguments else ""
    if verb in ("task", "tasks"):
        return _task(android, arguments[1:])
    try:
        if verb == "reset" and len(arguments) == 2:
            setup = json.loads(arguments[1])
            if not isinstance(setup, dict):
                return failed("simulator: reset takes a JSON object")
            android.device.reset(setup)
            answer = android.device.progress()
        elif verb == "trouble":
            if arguments[1:]:
                android.trouble.choose(read_trouble(" ".join(arguments[1:])))
            answer = android.trouble.schedule.begun
        elif arguments == ["state"]:
            answer = android.device.state()
        elif arguments == ["progress"]:
            answer = android.device.progress()
        else:
            return failed("simulator: use tasks, task NAME, reset JSON, state, progress or trouble JSON", 255)
    except ValueError as error:
        return failed(f"simulator: {error}")
    return printed(json.dumps(answer, ensure_ascii=False) + "\n")


def _task(android: Android, words: list[str]) -> Result:
    """Start the task of that name and print its instruction; without a name, list all tasks."""
    if not words:
        return printed(list_tasks())
    try:
        task = find_task(" ".join(words))
    except ValueError as error:
        return failed(f"simulator: {error}")
    started = _simulator(android, ["reset", json.dumps(dict(task.setup))])
    return started if started.status else printed(f"{task.instruction}\n")


def _resolve_activity(android: Android, arguments: list[str]) -> Result:
    package = android.home_package if HOME_CATEGORY in arguments else arguments[-1] if arguments else ""
    if package not in android.device.packages:
        return printed("No activity found\n", 1)
    return printed(
        f"priority=0 preferredOrder=0 match=0x108000 specificIndex=-1 isDefault=true\n{package}/.HomeActivity\n"
    )
