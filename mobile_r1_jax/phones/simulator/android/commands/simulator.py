"""The service `cmd simulator`, which only simulated phones have."""

import json

from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import Android
from mobile_r1_jax.phones.simulator.android.tasks import Tasks


def simulator(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """Run `reset JSON`, which starts a task, `state` or `progress`. Each prints one line of JSON."""
    verb = arguments[0] if arguments else ""
    try:
        if verb == "reset" and len(arguments) == 2:
            setup = json.loads(arguments[1])
            if not isinstance(setup, dict):
                return failed("simulator: reset takes a JSON object")
            android.device.reset(setup)
            android.tasks = Tasks()
            answer = android.device.progress()
        elif arguments == ["state"]:
            answer = android.device.state()
        elif arguments == ["progress"]:
            answer = android.device.progress()
        else:
            return failed("simulator: use reset JSON, state or progress", 255)
    except ValueError as error:
        return failed(f"simulator: {error}")
    return printed(json.dumps(answer, ensure_ascii=False) + "\n")
