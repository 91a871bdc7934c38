"""The command cmd, which calls a service by its name, and the services that switch parts of the phone."""

from mobile_r1_jax.phones.simulator.android.commands import apps, keyboard, packages, simulator, system, volume, windows
from mobile_r1_jax.phones.simulator.android.failures import NEGATIVE, default_command, missing_operand
from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import Android, Command

_NO_SERVICE = 20


def cmd(android: Android, arguments: list[str], stdin: bytes) -> Result:
    if not arguments:
        return failed("cmd: No service specified; use -l to list all services", _NO_SERVICE)
    name, *rest = arguments
    if name == "-l":
        return printed("Currently running services:\n" + "".join(f"  {service}\n" for service in sorted(_SERVICES)))
    service = _SERVICES.get(name)
    if service is None:
        return failed(f"cmd: Can't find service: {name}", _NO_SERVICE)
    return android.run(service, rest, stdin)


def switch(android: Android, namespace: str, key: str, on: bool, *, value: str = "1") -> None:
    """Switch a part of the phone by the setting that Android keeps for it."""
    android.settings[namespace][key] = value if on else "0"


def is_on(android: Android, namespace: str, key: str, default: str = "1") -> bool:
    return android.settings[namespace].get(key, default) != "0"


def _uimode(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`cmd uimode night [yes|no|auto]`, from Android 10 on."""
    modes = {"auto": "0", "no": "1", "yes": "2", "custom": "3"}
    if arguments[:1] != ["night"] or android.version < 10:
        return default_command(arguments[0] if arguments else "", "UiModeManager service (uimode)")
    secure = android.settings["secure"]
    if len(arguments) > 1:
        if arguments[1] not in modes:
            return failed(
                "Error: mode must be 'yes', 'no', or 'auto', or 'custom_schedule', or 'custom_bedtime'", NEGATIVE
            )
        secure["ui_night_mode"] = modes[arguments[1]]
    number = secure.get("ui_night_mode", "1")
    return printed(f"Night mode: {next((name for name, value in modes.items() if value == number), 'no')}\n")


def _connectivity(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`cmd connectivity airplane-mode [enable|disable]`, from Android 11 on."""
    if arguments[:1] != ["airplane-mode"] or android.version < 11:
        return default_command(arguments[0] if arguments else "", "Connectivity service (connectivity)")
    if len(arguments) == 1:
        return printed("enabled\n" if is_on(android, "global", "airplane_mode_on", "0") else "disabled\n")
    if arguments[1] not in ("enable", "disable"):
        return default_command(arguments[1], "Connectivity service (connectivity)")
    switch(android, "global", "airplane_mode_on", arguments[1] == "enable")
    return Result()


def _statusbar(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`cmd statusbar collapse`. The simulated phone has no shade, so that it is always closed."""
    if arguments == ["collapse"]:
        return Result()
    return default_command(arguments[0] if arguments else "", "Status bar (statusbar)")


def _switchable(heading: str, key: str, since: int, on: list[str], off: list[str], **reads: Command) -> Command:
    """Return a service with two commands that switch a global setting on and off, and commands that read."""

    def service(android: Android, arguments: list[str], stdin: bytes) -> Result:
        verb = arguments[0] if arguments else ""
        if android.version < since:
            return default_command(verb, heading)
        if arguments in (on, off):
            switch(android, "global", key, arguments == on)
            return Result()
        read = reads.get(verb.replace("-", "_"))
        return read(android, arguments, stdin) if read else default_command(verb, heading)

    return service


def _wifi_status(android: Android, arguments: list[str], stdin: bytes) -> Result:
    return printed(f"Wifi is {'enabled' if is_on(android, 'global', 'wifi_on') else 'disabled'}\n")


def _location(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`cmd location is-location-enabled` and `set-location-enabled true|false`, from Android 11 on."""
    verb = arguments[0] if arguments else ""
    if android.version > 10 and verb == "is-location-enabled":
        return printed(f"{str(is_on(android, 'secure', 'location_mode', '3')).lower()}\n")
    if android.version > 10 and verb == "set-location-enabled":
        if len(arguments) < 2:
            raise missing_operand(verb)
        switch(android, "secure", "location_mode", arguments[1] == "true", value="3")
        return Result()
    return default_command(verb, "Location service (location)")


_SERVICES: dict[str, Command] = {
    "activity": apps.am,
    "bluetooth_manager": _switchable("Bluetooth Manager", "bluetooth_on", 9, ["enable"], ["disable"]),
    "connectivity": _connectivity,
    "input_method": keyboard.ime,
    "lock_settings": system.locksettings,
    "location": _location,
    "media_session": volume.media,
    "package": packages.pm,
    "phone": _switchable("Telephony", "mobile_data", 10, ["data", "enable"], ["data", "disable"]),
    "settings": system.settings,
    "simulator": simulator.simulator,
    "statusbar": _statusbar,
    "uimode": _uimode,
    "wifi": _switchable("Wi-Fi (wifi)", "wifi_on", 11, ["set-wifi-enabled", "enabled"],
                        ["set-wifi-enabled", "disabled"], status=_wifi_status),
    "window": windows.wm,
}  # fmt: skip

_POWER_SOURCES = {"true": 7, "false": 0, "ac": 1, "usb": 2, "wireless": 4, "dock": 8}
_SVC = {"wifi": "wifi_on", "data": "mobile_data", "bluetooth": "bluetooth_on"}


def svc(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`svc wifi|data|bluetooth enable|disable`, `svc power stayon WHEN` and `svc power reboot`. They print nothing."""
    match arguments:
        case [name, "enable" | "disable" as state] if name in _SVC:
            switch(android, "global", _SVC[name], state == "enable")
        case ["power", "stayon", when] if when in _POWER_SOURCES:
            android.settings["global"]["stay_on_while_plugged_in"] = str(_POWER_SOURCES[when])
        case ["power", "reboot", *_]:
            android.reboot()
        case _:
            commands = "".join(f"    {name}\n" for name in ("help", *_SVC, "power"))
            return failed(f"Available commands:\n{commands}".rstrip())
    return Result()
