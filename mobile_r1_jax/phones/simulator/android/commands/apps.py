"""Commands for apps and intents: am, pm and monkey."""

from mobile_r1_jax.phones.simulator.android.commands import keyboard
from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import Android

HOME_CATEGORY = "android.intent.category.HOME"
_WITH_VALUE = {"-a", "-c", "-d", "-f", "-n", "-p", "-t", "--user", "--ez", "--ei", "--es", "--receiver-permission"}


def _intent(arguments: list[str]) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Return the options with their values, the extras, and the remaining words."""
    options: dict[str, str] = {}
    extras: dict[str, str] = {}
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word in ("--es", "--ez", "--ei", "--eia"):
            name = next(words, "")
            extras[name] = next(words, "")
        elif word in _WITH_VALUE:
            options[word] = next(words, "")
        else:
            rest.append(word)
    return options, extras, rest


def am(android: Android, arguments: list[str], stdin: bytes) -> Result:
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    handler = {
        "start": _start,
        "start-activity": _start,
        "force-stop": _stop,
        "broadcast": _broadcast,
        "stack": _stack,
    }.get(name)
    return handler(android, rest) if handler else failed(f"Error: unknown command '{name}'", 255)


def _start(android: Android, arguments: list[str]) -> Result:
    options, _, rest = _intent(arguments)
    if options.get("-c") == HOME_CATEGORY:
        android.device.key("HOME")
        return printed(f"Starting: Intent {{ act={options.get('-a', '')} cat=[{HOME_CATEGORY}] }}\n")
    component = options.get("-n") or next((word for word in rest if "/" in word), "")
    package = component.split("/")[0] or options.get("-p", "")
    if not package:
        intent = f"act={options.get('-a', '')} dat={options.get('-d', '')}"
        return failed(f"Error: Activity not started, unable to resolve Intent {{ {intent} flg=0x10000000 }}")
    if not android.device.launch(package):
        return failed(f"Error type 3\nError: Activity class {{{component or package}}} does not exist.")
    lines = [f"Starting: Intent {{ cmp={component or package} }}"]
    if "-W" in rest:
        lines += [
            "Status: ok",
            "LaunchState: COLD",
            "Activity: {}/{}".format(*android.device.focus),
            "TotalTime: 1",
            "Complete",
        ]
    return printed("\n".join(lines) + "\n")


def _stop(android: Android, arguments: list[str]) -> Result:
    """Show the launcher if the stopped app is in the foreground. Other apps stay unchanged."""
    _, _, packages = _intent(arguments)
    if not packages:
        return failed('Error: Argument expected after "force-stop"', 255)
    if android.device.focus[0] in packages:
        android.device.key("HOME")
    return Result()


def _broadcast(android: Android, arguments: list[str]) -> Result:
    """Send a broadcast to the ADB keyboard if it is selected. As on Android, the output never shows who received it."""
    options, extras, _ = _intent(arguments)
    action = options.get("-a", "")
    keyboard.broadcast(android, action, options.get("-p", ""), extras)
    return printed(
        f"Broadcasting: Intent {{ act={action} flg=0x400000 (has extras) }}\nBroadcast completed: result=0\n"
    )


def _stack(android: Android, arguments: list[str]) -> Result:
    package, activity = android.device.focus
    width, height = android.device.size
    return printed(
        f"RootTask id=1 bounds=[0,0][{width},{height}] displayId=0 userId=0\n"
        f"  taskId=1: {package}/{package}{activity} bounds=[0,0][{width},{height}] userId=0 visible=true\n"
    )


def monkey(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`monkey -p PACKAGE -c android.intent.category.LAUNCHER 1` starts an app without the name of its activity."""
    options, _, _ = _intent(arguments)
    if not android.device.launch(options.get("-p", "")):
        return printed("** No activities found to run, monkey aborted.\n", 252)
    return printed("Events injected: 1\n## Network stats: elapsed time=1ms (0ms mobile, 0ms wifi, 1ms not connected)\n")


def pm(android: Android, arguments: list[str], stdin: bytes) -> Result:
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if name == "list" and rest[:1] == ["packages"]:
        return _list_packages(android, rest[1:])
    if name == "path":
        known = bool(rest) and rest[0] in android.packages
        return printed(f"package:/data/app/{rest[0]}/base.apk\n") if known else Result(status=1)
    if name == "clear":
        return printed("Failed\n", 1)  # `cmd simulator reset` resets the whole phone instead
    return failed(f"Error: unknown command '{' '.join(arguments[:2])}'", 255)


def _list_packages(android: Android, arguments: list[str]) -> Result:
    """List packages: -3 all but the launcher, -s only the launcher, -f with the file; a word filters by name."""
    wanted = next((word for word in arguments if not word.startswith("-")), "")
    names = [name for name in sorted(android.packages) if wanted in name]
    if "-3" in arguments:
        names = [name for name in names if name != android.home_package]
    if "-s" in arguments:
        names = [name for name in names if name == android.home_package]
    prefix = "package:/data/app/{0}/base.apk={0}\n" if "-f" in arguments else "package:{0}\n"
    return printed("".join(prefix.format(name) for name in names))
