"""The service `cmd simulator`, which only simulated phones have."""

import json

from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import Android
from mobile_r1_jax.phones.simulator.android.tasks import Tasks
from mobile_r1_jax.phones.simulator.named_tasks import find_task, list_tasks
from mobile_r1_jax.phones.simulator.trouble import read_trouble


def simulator(android: Android, arguments: list[str], stdin: bytes) -> Result:
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
            android.tasks = Tasks()
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
    started = simulator(android, ["reset", json.dumps(dict(task.setup))], b"")
    return started if started.status else printed(f"{task.instruction}\n")
