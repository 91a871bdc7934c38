"""The command media, which is also `cmd media_session`: the volume of each stream of sound."""

from typing import NamedTuple

from mobile_r1_jax.phones.simulator.android.failures import NEGATIVE, Raised, default_command, missing_operand
from mobile_r1_jax.phones.simulator.android.shell import Result, printed
from mobile_r1_jax.phones.simulator.android.system import Android


class Stream(NamedTuple):
    name: str
    least: int
    most: int
    first: int  # on a new phone


_STREAMS = (
    Stream("STREAM_VOICE_CALL", 1, 5, 4),
    Stream("STREAM_SYSTEM", 0, 7, 5),
    Stream("STREAM_RING", 0, 7, 5),
    Stream("STREAM_MUSIC", 0, 15, 5),
    Stream("STREAM_ALARM", 1, 7, 6),
    Stream("STREAM_NOTIFICATION", 0, 7, 5),
)
_MUSIC = 3  # the volume that the phone's keys change
_STEPS = {"raise": 1, "lower": -1, "same": 0}


def media(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`media volume [--show] [--stream N] [--set INDEX | --adj raise|lower|same] [--get]`."""
    if arguments[:1] != ["volume"]:
        return default_command(arguments[0] if arguments else "", "Media session (media_session)")
    mark = "[V]" if android.version > 11 else "[v]"
    number, new, adjustment, get, lines = _MUSIC, None, "", False, []
    words = iter(arguments[1:])
    for word in words:
        if word == "--stream":
            number = _number(word, next(words, None))
            lines.append(f"will control stream={number} ({_name(number)})")
        elif word == "--set":
            new = _number(word, next(words, None))
            lines.append(f"will set volume to index={new}")
        elif word == "--adj":
            adjustment = next(words, "")
            lines.append("will adjust volume")
        elif word == "--get":
            get = True
            lines.append("will get volume")
        elif word != "--show":
            raise Raised(f"java.lang.IllegalArgumentException: Unknown argument {word}")
    lines.append("Connecting to AudioService")
    error = _change(android, number, new, adjustment)
    if get and not error:
        stream = _STREAMS[number]
        lines.append(f"volume is {_volume(android, number)} in range [{stream.least}..{stream.most}]")
    text = "".join(f"{mark} {line}\n" for line in lines)
    return printed(text + error, NEGATIVE if error else 0)


def _number(option: str, word: str | None) -> int:
    if word is None:
        raise missing_operand(option)
    try:
        return int(word, 0)
    except ValueError:
        raise Raised(f'java.lang.NumberFormatException: For input string: "{word}"') from None


def _name(number: int) -> str:
    return _STREAMS[number].name if 0 <= number < len(_STREAMS) else "invalid stream"


def _volume(android: Android, number: int) -> int:
    return android.device.volume if number == _MUSIC else android.volumes.get(number, _STREAMS[number].first)


def _change(android: Android, number: int, new: int | None, adjustment: str) -> str:
    """Set a stream's volume or change it by one step. Return "" or the line that says what is wrong."""
    if not 0 <= number < len(_STREAMS):
        raise Raised(f"java.lang.IllegalArgumentException: Bad stream type {number}")
    stream = _STREAMS[number]
    if adjustment and adjustment not in _STEPS:
        return f"Error: no valid volume adjustment, was {adjustment}, expected lower|same|raise\n"
    if new is not None and not stream.least <= new <= stream.most:
        allowed = f"(should be in [{stream.least}..{stream.most}])"
        return f"Error: invalid volume index {new} for stream {number} {allowed}\n"
    value = _volume(android, number) + _STEPS.get(adjustment, 0) if new is None else new
    value = max(stream.least, min(stream.most, value))
    if number == _MUSIC:
        android.device.volume = value
    else:
        android.volumes[number] = value
    return ""
