"""Installing and uninstalling. A simulated phone runs its own apps only, so it refuses all other APKs."""

from mobile_r1_jax.phones.simulator.android.apk import Manifest, NotApk, read_manifest
from mobile_r1_jax.phones.simulator.android.failures import Raised, missing_operand
from mobile_r1_jax.phones.simulator.android.files import FileError
from mobile_r1_jax.phones.simulator.android.shell import Result, printed
from mobile_r1_jax.phones.simulator.android.system import ADB_KEYBOARD, Android

_KEYBOARD = ADB_KEYBOARD.split("/")[0]
_WITH_VALUE = ("-S", "-i", "--user", "--abi", "--install-location", "--install-reason", "--pkg", "--originating-uri",
               "--referrer", "-p", "--dexopt-compiler-filter")  # fmt: skip
_NATIVE_CODE = {"x86_64", "arm64-v8a"}


def install(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`pm install [-r] [-t] [-d] [-g] [-R] FILE`, or `-S BYTES` and the APK on standard input."""
    options, operands = _options(arguments)
    if user := _missing_user(android, options):
        return printed(f"Failure [user {user} doesn't exist]\n", 1)
    if operands and operands[0] != "-":
        try:
            data = android.files.read(operands[0])
        except FileError:
            raise Raised(f"java.lang.IllegalArgumentException: Error: Can't open file: {operands[0]}") from None
    elif "-S" in options:
        data = stdin
        if len(data) != int(options["-S"]):
            return _failure("INSTALL_PARSE_FAILED_NOT_APK", "Failed to parse /data/app/vmdl1.tmp/base.apk")
    else:
        return printed("Error: must either specify a package size or an APK file\n", 1)
    try:
        manifest = read_manifest(data)
    except NotApk:
        return _failure("INSTALL_PARSE_FAILED_NOT_APK", "Failed to parse /data/app/vmdl1.tmp/base.apk")
    if failure := _refusal(android, manifest, options):
        return _failure(*failure)
    android.removed.discard(manifest.package)
    return printed("Success\n")


def _refusal(android: Android, manifest: Manifest, options: dict[str, str]) -> tuple[str, str] | None:
    """Return why Android does not install this APK: the name of the failure and its words. None if it does."""
    package, installed = manifest.package, manifest.package in android.packages
    if installed and "-R" in options:
        return "INSTALL_FAILED_ALREADY_EXISTS", f"Attempt to re-install {package} without first uninstalling."
    if manifest.test_only and "-t" not in options:
        return "INSTALL_FAILED_TEST_ONLY", "installPackageLI"
    if manifest.abis and not manifest.abis & _NATIVE_CODE:
        return "INSTALL_FAILED_NO_MATCHING_ABIS", "Failed to extract native libraries, res=-113"
    if installed and manifest.version_code < 1 and "-d" not in options:
        words = f"Update version code {manifest.version_code} is older than current 1"
        return "INSTALL_FAILED_VERSION_DOWNGRADE", f"Downgrade detected: {words}"
    if package == _KEYBOARD:
        return None
    if installed:
        words = f"Existing package {package} signatures do not match newer version; ignoring!"
        return "INSTALL_FAILED_UPDATE_INCOMPATIBLE", words
    return "INSTALL_FAILED_USER_RESTRICTED", "a simulated phone runs only its own apps and the ADB keyboard"


def uninstall(android: Android, arguments: list[str]) -> Result:
    """`pm uninstall [-k] [--user N] PACKAGE`. Only the ADB keyboard can go: the home screen shows all other apps."""
    options, operands = _options(arguments)
    if not operands:
        return printed("Error: package name not specified\n", 1)
    if user := _missing_user(android, options):
        return printed(f"Failure [user {user} doesn't exist]\n", 1)
    package = operands[0]
    if package not in android.packages or package in android.system_packages:
        return _failure("DELETE_FAILED_INTERNAL_ERROR", "")
    if package != _KEYBOARD:
        return _failure("DELETE_FAILED_USER_RESTRICTED", "")
    android.remove_keyboard()
    return printed("Success\n")


def _failure(name: str, words: str) -> Result:
    return printed(f"Failure [{name}{': ' if words else ''}{words}]\n", 1)


def _missing_user(android: Android, options: dict[str, str]) -> str:
    """Return the user of --user if there is no such user, else ""."""
    user = options.get("--user", "0")
    return "" if user in ("all", "current", "cur", *map(str, android.users)) else user


def _options(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    options: dict[str, str] = {}
    operands: list[str] = []
    words = iter(arguments)
    for word in words:
        if word in _WITH_VALUE:
            value = next(words, None)
            if value is None:
                raise missing_operand(word)
            if word == "-S" and not value.isdecimal():
                raise Raised(f'java.lang.NumberFormatException: For input string: "{value}"')
            options[word] = value
        elif word.startswith("-") and word != "-":
            options[word] = ""
        else:
            operands.append(word)
    return options, operands
