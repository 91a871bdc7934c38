"""The command dumpsys. Its texts have the form that phone tools parse."""

from datetime import UTC, datetime, time, timedelta

from mobile_r1_jax.phones.simulator.android.commands.dump_activities import dump_activity
from mobile_r1_jax.phones.simulator.android.commands.dump_windows import dump_window
from mobile_r1_jax.phones.simulator.android.launching import exported
from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import ADB_KEYBOARD, SDK, Android
from mobile_r1_jax.phones.simulator.android.tasks import token, uid


def dumpsys(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`dumpsys [-t SECONDS] SERVICE …` and `dumpsys -l`.

    Android's own one ends with status 0 also for a service that it does not have. Here that status is 1, so that no
    tool takes a service that is not simulated for an empty one.
    """
    if arguments[:1] in (["-t"], ["-T"]):
        arguments = arguments[2:]
    service, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if service == "-l":
        return printed("Currently running services:\n" + "".join(f"  {name}\n" for name in sorted(_DUMPS)))
    dump = _DUMPS.get(service)
    if dump is None:
        return failed(f"Can't find service: {service}")
    answer = dump(android, rest)
    return printed(answer) if isinstance(answer, str) else answer


def _viewports(android: Android) -> str:
    width, height = android.device.size
    frame = f"Rect(0, 0 - {width}, {height})"
    views = (
        f"DisplayViewport{{type=INTERNAL, valid=true, isActive={str(on and android.awake).lower()}, "
        f"displayId={position}, uniqueId='local:{name}', physicalPort=0, orientation=0, "
        f"logicalFrame={frame}, physicalFrame={frame}, deviceWidth={width}, deviceHeight={height}}}"
        for position, (name, on) in enumerate(android.hardware.displays.items())
    )
    return ", ".join(views)


def _display(android: Android, arguments: list[str]) -> str:
    lines = ["DISPLAY MANAGER (dumpsys display)", f"  mViewports=[{_viewports(android)}]"]
    for position, on in enumerate(android.hardware.displays.values()):
        state = "ON" if on and android.awake else "OFF"
        lines += [f"Display Power Controller: mDisplayId={position}", f"  mScreenState={state}"]
    return "\n".join(lines) + "\n"


def _surface_flinger(android: Android, arguments: list[str]) -> str | Result:
    """`dumpsys SurfaceFlinger --display-id`, from Android 10 on."""
    if arguments != ["--display-id"] or android.version < 10:
        return failed(f"SurfaceFlinger: Unknown argument: {' '.join(arguments)}")
    return "".join(
        f'Display {name} (HWC display {position}): port={position} pnpId=GGL displayName="EMU_display_{position}"\n'
        for position, name in enumerate(android.hardware.displays)
    )


def _input(android: Android, arguments: list[str]) -> str:
    width, height = android.device.size
    frame = f"[0, 0, {width}, {height}]"
    orientation = "SurfaceOrientation" if android.version < 12 else "InputDeviceOrientation"
    return (
        "INPUT MANAGER (dumpsys input)\n"
        f"    Viewport INTERNAL: displayId=0, uniqueId=local:{next(iter(android.hardware.displays))}, port=0, "
        f"orientation=0, logicalFrame={frame}, physicalFrame={frame}, deviceSize=[{width}, {height}], isActive=[1]\n"
        f"      {orientation}: 0\n"
    )


def _power(android: Android, arguments: list[str]) -> str:
    awake, stay = str(android.awake).lower(), android.settings["global"].get("stay_on_while_plugged_in", "0")
    lines = [
        "POWER MANAGER (dumpsys power)",
        "",
        "Power Manager State:",
        f"  mWakefulness={'Awake' if android.awake else 'Asleep'}",
        f"  mStayOnWhilePluggedInSetting={stay}",
        f"  mHalInteractiveModeEnabled={awake}",
        f"  mHoldingDisplaySuspendBlocker={awake}",
    ]
    lines += ["", f"Display Power: state={'ON' if android.awake else 'OFF'}"] if android.version < 14 else []
    return "\n".join(lines) + "\n"


def _battery(android: Android, arguments: list[str]) -> str | Result:
    """`dumpsys battery [unplug | reset | set ac|usb|wireless|status|level|temp|present N]`."""
    battery = android.hardware.battery
    match [word for word in arguments if word != "-f"]:
        case ["unplug"]:
            battery.unplug()
            return ""
        case ["reset"]:
            battery.reset()
            return ""
        case ["set", name, value] if name in battery.values and value.isdecimal():
            battery.values[name] = int(value)
            return ""
        case [_, *_]:
            return failed(f"Unknown option: {' '.join(arguments)}")
    values = battery.values
    plugged = {"AC": values["ac"], "USB": values["usb"], "Wireless": values["wireless"]}
    plugged |= {"Dock": 0} if android.version >= 13 else {}
    lines = ["Current Battery Service state:"]
    lines += [f"  {name} powered: {str(on == 1).lower()}" for name, on in plugged.items()]
    lines += [
        "  Max charging current: 500000",
        "  Max charging voltage: 5000000",
        "  Charge counter: 3270000",
        f"  status: {values['status']}",
        "  health: 2",
        f"  present: {str(values['present'] == 1).lower()}",
        f"  level: {values['level']}",
        "  scale: 100",
        "  voltage: 4200",
        f"  temperature: {values['temp']}",
        "  technology: Li-ion",
    ]
    return "\n".join(lines) + "\n"


def _package(android: Android, arguments: list[str]) -> str:
    """Return all packages or one. Unlike real phones, simulated ones show the label of every app here."""
    labels, system = android.packages, android.system_packages
    names = [name for name in sorted(labels) if not arguments or arguments[0] in ("packages", name)]
    if not names:
        return f"Unable to find package: {arguments[0]}\n"
    resolver = _resolver(android, names[0]) if len(names) == 1 else ""
    lines = (_package_lines(android, name, labels[name], system=name in system) for name in names)
    return f"{resolver}Packages:\n{''.join(lines)}"


def _resolver(android: Android, name: str) -> str:
    if not exported(android, name):
        return ""
    return (
        "Activity Resolver Table:\n  Non-Data Actions:\n      android.intent.action.MAIN:\n"
        f"        {token('activity', name)} {name}/.HomeActivity filter {token('filter', name)}\n"
        '          Action: "android.intent.action.MAIN"\n          Category: "android.intent.category.LAUNCHER"\n\n'
    )


def _package_lines(android: Android, name: str, label: str, *, system: bool) -> str:
    flags = "SYSTEM HAS_CODE" if system else "HAS_CODE"
    granted = sorted(permission for package, permission in android.granted if package == name)
    permissions = "".join(f"      {permission}: granted=true, flags=[ USER_SET ]\n" for permission in granted)
    return (
        f"  Package [{name}] (51a3f10):\n    userId={uid(name)}\n"
        f"    versionCode=1 minSdk=24 targetSdk={SDK[android.version]}\n"
        "    versionName=1.0\n"
        "    signatures=PackageSignatures{51a3f10 version:2, signatures:[7b0c2aa], past signatures:[]}\n"
        f"    pkgFlags=[ {flags} ]\n    nonLocalizedLabel={label}\n"
        "    firstInstallTime=2025-01-01 00:00:00\n    lastUpdateTime=2025-01-01 00:00:00\n"
        + (f"    runtime permissions:\n{permissions}" if granted else "")
    )


def _input_method(android: Android, arguments: list[str]) -> str:
    """Return the keyboard's state. It is visible while a text field has the focus."""
    field = next((element for element in android.device.elements() if element.focused), None)
    shown = str(field is not None).lower()
    view = f"android.widget.EditText{{{token('view', android.device.focus)} VFED..CL. .F....ID}}" if field else "null"
    return (
        "Current Input Method Manager state:\n"
        f"  mCurMethodId={android.keyboard}\n  mCurId={android.keyboard} mHaveConnection=true mBoundToMethod=true\n"
        f"  mInputShown={shown}\n  mImeWindowVis={3 if field else 0}\n"
        f"Input method client state:\n  mServedView={view}\n"
        f"  mServedInputConnection={'android.view.inputmethod.RemoteInputConnectionImpl' if field else 'null'}\n"
        f"Input method service state for {android.keyboard}:\n"
        f"  mIsInputViewShown={shown}\n  inputType=0x{1 if field and android.keyboard != ADB_KEYBOARD else 0:x}\n"
    )


def _alarm(android: Android, arguments: list[str]) -> str:
    """Return the alarm manager's state: of all alarms of the clock only the next one, as on Android."""
    now = datetime.now(UTC)
    moments = (datetime.combine(now, time.fromisoformat(alarm), UTC) for alarm in android.device.alarms)
    rings = [moment if moment > now else moment + timedelta(days=1) for moment in moments]
    lines = [f"{round(1000 * ring.timestamp())} = {ring:%Y-%m-%d %H:%M:%S}" for ring in sorted(rings)[:1]]
    text = "".join(f"    user:0 pendingSend:false time:{line}\n" for line in lines)
    return f"Current Alarm Manager state:\n\n  Next alarm clock information:\n{text}"


def _trust(android: Android, arguments: list[str]) -> str:
    """Return the trust manager's state. The keyguard has no PIN, so the phone never counts as locked."""
    return (
        'Trust manager state:\n User "Owner" (id=0, flags=0x4c13) (current): trustState=UNTRUSTED, trustManaged=0, '
        "deviceLocked=0, strongAuthRequired=0x0\n"
    )


def _telephony(android: Android, arguments: list[str]) -> str:
    """Return the telephony registry's state: 2 is off hook. The phone receives no calls."""
    state = 2 if android.device.focus[1] == ".CallActivity" else 0
    return f"last known state:\n  Phone Id=0\n    mCallState={state}\n    mRingingCallState=0\n"


_DUMPS = {
    "SurfaceFlinger": _surface_flinger,
    "activity": dump_activity,
    "alarm": _alarm,
    "battery": _battery,
    "display": _display,
    "input": _input,
    "input_method": _input_method,
    "package": _package,
    "power": _power,
    "telephony.registry": _telephony,
    "trust": _trust,
    "window": dump_window,
}
