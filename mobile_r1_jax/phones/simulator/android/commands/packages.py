"""Commands for packages: pm and `cmd package`."""

from mobile_r1_jax.phones.simulator.android.commands.installation import install, uninstall
from mobile_r1_jax.phones.simulator.android.failures import NEGATIVE, Raised, default_command, missing_operand
from mobile_r1_jax.phones.simulator.android.intents import HOME, parse_intent
from mobile_r1_jax.phones.simulator.android.launching import Activity, matches
from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import Android
from mobile_r1_jax.phones.simulator.android.tasks import uid

# Permissions that pm grant can change.
GRANTABLE = {
    f"android.permission.{name}"
    for name in (
        "ACCESS_COARSE_LOCATION", "ACCESS_FINE_LOCATION", "CALL_PHONE", "CAMERA", "GET_ACCOUNTS", "POST_NOTIFICATIONS",
        "READ_CALENDAR", "READ_CALL_LOG", "READ_CONTACTS", "READ_EXTERNAL_STORAGE", "READ_MEDIA_AUDIO",
        "READ_MEDIA_IMAGES", "READ_MEDIA_VIDEO", "READ_PHONE_STATE", "READ_SMS", "RECEIVE_SMS", "RECORD_AUDIO",
        "SEND_SMS", "WRITE_CALENDAR", "WRITE_CONTACTS", "WRITE_EXTERNAL_STORAGE", "WRITE_SECURE_SETTINGS",
    )
}  # fmt: skip


def pm(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """Run `pm VERB …`, which is also `cmd package VERB …`."""
    verb, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if verb == "install":
        return install(android, rest, stdin)
    handler = {
        "clear": _clear,
        "grant": _grant,
        "list": _list,
        "path": _path,
        "query-activities": _query_activities,
        "resolve-activity": _resolve_activity,
        "revoke": _revoke,
        "uninstall": uninstall,
    }.get(verb)
    return handler(android, rest) if handler else default_command(verb, "Package manager (package)")


def _split_user(android: Android, arguments: list[str]) -> tuple[str, list[str]]:
    """Return the value of --user, "" without one, and the other words."""
    if "--user" not in arguments:
        return "", arguments
    at = arguments.index("--user")
    if at + 1 == len(arguments):
        raise missing_operand("--user")
    user = arguments[at + 1]
    if user not in ("all", "current", "cur") and not user.isdecimal():
        raise Raised(f"java.lang.IllegalArgumentException: Bad user number: {user}")
    return user, arguments[:at] + arguments[at + 2 :]


def _list(android: Android, arguments: list[str]) -> Result:
    kind, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if not kind:
        return printed("Error: didn't specify type of data to list\n", NEGATIVE)
    if kind in ("packages", "package"):
        return _list_packages(android, rest)
    if kind == "users":
        flags = {0: "c13"}
        lines = [
            f"\tUserInfo{{{key}:{name}:{flags.get(key, '1010')}}} running\n" for key, name in android.users.items()
        ]
        return printed("Users:\n" + "".join(lines))
    return printed(f"Error: unknown list type '{kind}'\n", NEGATIVE)


def _list_packages(android: Android, arguments: list[str]) -> Result:
    """List packages: -3 and -s by origin, -e and -d by state, -f with the file, -U with the user id; a word filters."""
    user, arguments = _split_user(android, arguments)
    flags = {word for word in arguments if word.startswith("-")}
    if unknown := flags - {"-3", "-s", "-e", "-d", "-f", "-U", "-a", "-i", "-u", "--show-versioncode"}:
        return printed(f"Error: Unknown option: {min(unknown)}\n", NEGATIVE)
    blocked = next((key for key in android.users if key != 0 and user in ("", "all", str(key))), None)
    if blocked is not None:  # its profile forbids debugging; newer phones say so with status 0
        error = f"Error: java.lang.SecurityException: Shell does not have permission to access user {blocked}"
        return failed(error, 0 if android.version >= 16 else NEGATIVE)
    if user.isdecimal() and int(user) not in android.users:
        return Result()
    wanted = next((word for word in arguments if not word.startswith("-")), "")
    system = android.system_packages
    names = [] if "-d" in flags else [name for name in sorted(android.packages) if wanted in name]
    if "-3" in flags:
        names = [name for name in names if name not in system]
    if "-s" in flags:
        names = [name for name in names if name in system]
    return printed("".join(_package_line(android, name, flags) for name in names))


def _package_line(android: Android, name: str, flags: set[str]) -> str:
    line = f"package:{package_file(android, name)}={name}" if "-f" in flags else f"package:{name}"
    line += " versionCode:1" * ("--show-versioncode" in flags) + "  installer=null" * ("-i" in flags)
    return line + f" uid:{uid(name)}" * ("-U" in flags) + "\n"


def package_file(android: Android, name: str) -> str:
    """Return the path of an app's APK."""
    if name == "android":
        return "/system/framework/framework-res.apk"
    if name in android.system_packages:
        return f"/system/app/{name}/{name}.apk"
    return f"/data/app/{name}/base.apk"


def _path(android: Android, arguments: list[str]) -> Result:
    _, names = _split_user(android, arguments)
    if not names:
        return printed("Error: no package specified\n", 1)
    known = names[0] in android.packages
    return printed(f"package:{package_file(android, names[0])}\n") if known else Result(status=1)


def _clear(android: Android, arguments: list[str]) -> Result:
    """Put an app's data and permissions back to those of a new phone, and end the app."""
    _, names = _split_user(android, arguments)
    if not names:
        return failed("Error: no package specified", NEGATIVE)
    name = names[0]
    if name not in android.packages:
        return printed("Failed\n", 1)
    if name in android.device.apps:
        android.device.clear(name)
    if name == "com.android.providers.contacts":
        android.contacts.execute("DELETE FROM raw_contacts")
    android.granted = {grant for grant in android.granted if grant[0] != name}
    for task in [task for task in android.tasks.tasks if task.package == name]:
        android.tasks.remove(task.id)
    return printed("Success\n")


def _permission(android: Android, arguments: list[str]) -> tuple[str, str]:
    _, words = _split_user(android, arguments)
    if not words:
        raise Raised("java.lang.IllegalArgumentException: no package specified")
    if len(words) < 2:
        raise Raised("java.lang.IllegalArgumentException: no permission specified")
    package, permission = words[:2]
    if package not in android.packages:
        raise Raised(f"java.lang.IllegalArgumentException: Unknown package: {package}")
    if permission not in GRANTABLE:
        raise Raised(f"java.lang.IllegalArgumentException: Unknown permission: {permission}")
    return package, permission


def _grant(android: Android, arguments: list[str]) -> Result:
    android.granted.add(_permission(android, arguments))
    return Result()


def _revoke(android: Android, arguments: list[str]) -> Result:
    android.granted.discard(_permission(android, arguments))
    return Result()


def _described(activity: Activity, indent: str, switches: set[str], *, default: bool) -> str:
    """Return the lines of one activity. Without --brief Android prints much more, but never the label's text."""
    flag = str(default).lower()
    lines = [f"priority=0 preferredOrder=0 match=0x108000 specificIndex=-1 isDefault={flag}"]
    if "--brief" in switches:
        lines.append(activity.component)
    else:
        lines += [
            "ActivityInfo:",
            f"  name={activity.package}{activity.name}",
            f"  packageName={activity.package}",
            "  labelRes=0x7f0c0040 nonLocalizedLabel=null icon=0x0 banner=0x0",
            "  enabled=true exported=true directBootAware=false",
        ]
    return "".join(f"{indent}{line}\n" for line in lines)


def _resolve_activity(android: Android, arguments: list[str]) -> Result:
    parsed = parse_intent(arguments)
    found = matches(android, parsed.intent)
    if not found:
        return printed("No activity found\n")
    if len(found) > 1:
        found = [Activity("android", "com.android.internal.app.ResolverActivity")]
    home = HOME in parsed.intent.categories
    return printed(_described(found[0], "", parsed.switches, default=home))


def _query_activities(android: Android, arguments: list[str]) -> Result:
    parsed = parse_intent(arguments)
    found = matches(android, parsed.intent)
    if not found:
        return printed("No activities found\n")
    if "--components" in parsed.switches:
        return printed("".join(f"{activity.component}\n" for activity in found))
    lines = [f"{len(found)} activities found:\n"]
    for position, activity in enumerate(found):
        lines += [f"  Activity #{position}:\n", _described(activity, "    ", parsed.switches, default=False)]
    return printed("".join(lines))
