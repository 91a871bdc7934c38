"""TFRecords, protobuf messages and pictures, encoded byte by byte from the tables of the formats.

Nothing here uses the code that reads them.
"""

import gzip
import io
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image


def picture(size: tuple[int, int], color: object = 0, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color if isinstance(color, tuple) else (color, color, color)).save(file, kind)
    return file.getvalue()


def varint(number: int) -> bytes:
    """A protobuf varint; a negative number has ten bytes."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def number_field(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def bytes_field(number: int, value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def bytes_feature(*values: bytes | str) -> bytes:
    return bytes_field(1, b"".join(bytes_field(1, value) for value in values))


def int_feature(*values: int, packed: bool = True) -> bytes:
    if packed:
        return bytes_field(3, bytes_field(1, b"".join(map(varint, values))))
    return bytes_field(3, b"".join(number_field(1, value) for value in values))


def float_feature(*values: float, packed: bool = True) -> bytes:
    if packed:
        return bytes_field(2, bytes_field(1, struct.pack(f"<{len(values)}f", *values)))
    return bytes_field(2, b"".join(varint(1 << 3 | 5) + struct.pack("<f", value) for value in values))


def example(features: Mapping[str, bytes]) -> bytes:
    """A tf.train.Example: a map of names to features in field 1 of field 1."""
    entries = (bytes_field(1, bytes_field(1, name) + bytes_field(2, feature)) for name, feature in features.items())
    return bytes_field(1, b"".join(entries))


def one_byte(crc: int) -> int:
    for _ in range(8):
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc


CRC = [one_byte(byte) for byte in range(256)]


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + 0xA282EAD8) % (1 << 32))


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def write_records(path: Path, *records: bytes, members: bool = True) -> Path:
    """A GZIP TFRecord file; members: each record is a separate GZIP member."""
    framed = [record(data) for data in records]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(gzip.compress, framed)) if members else gzip.compress(b"".join(framed)))
    return path


def rect(left: int, top: int, right: int, bottom: int) -> bytes:
    """A ProtoRect; a zero is absent."""
    sides = (left, top, right, bottom)
    return b"".join(number_field(number, side) for number, side in enumerate(sides, 1) if side)


def node(
    bounds: Sequence[int], text: str = "", *, described: str = "", package: str = "", visible: bool = True
) -> bytes:
    """An AndroidAccessibilityNodeInfo, with fields that no reader uses."""
    parts = [number_field(1, 7), bytes_field(2, rect(*bounds)), bytes_field(3, "android.widget.Button")]
    parts += [bytes_field(4, described)] * bool(described) + [bytes_field(6, package), bytes_field(7, text)]
    parts += [number_field(8, -1), number_field(14, 1), number_field(23, int(visible)), number_field(27, 2)]
    return b"".join([*parts, bytes_field(25, b"".join(map(varint, (3, 4))))])


def forest(*nodes: bytes, bounds: Sequence[int] = (0, 0, 108, 240), kind: int = 1) -> bytes:
    """An AndroidAccessibilityForest of one window."""
    window = bytes_field(1, rect(*bounds)) + number_field(3, 5) + number_field(4, 2) + number_field(6, kind)
    return bytes_field(1, window + bytes_field(11, b"".join(bytes_field(1, one) for one in nodes)))


def android_control(
    episode: int,
    goal: str,
    /,
    *actions: object,
    size: tuple[int, int] = (108, 240),
    forests: Sequence[bytes] | None = None,
    **changes: bytes | None,
) -> bytes:
    """An episode of AndroidControl; `changes` replace features, None leaves one out."""
    count = len(actions) + 1
    features: dict[str, bytes | None] = {
        "episode_id": int_feature(episode),
        "goal": bytes_feature(goal),
        "screenshots": bytes_feature(*(picture(size, (episode % 256, index, 0)) for index in range(count))),
        "screenshot_widths": int_feature(*[size[0]] * count),
        "screenshot_heights": int_feature(*[size[1]] * count),
        "accessibility_trees": bytes_feature(*(forests or [forest()] * count)),
        "actions": bytes_feature(*(one if isinstance(one, bytes) else json.dumps(one) for one in actions)),
        "step_instructions": bytes_feature(*(f"step {index} of {episode}" for index in range(count - 1))),
        **changes,
    }
    return example({name: feature for name, feature in features.items() if feature is not None})


def click(x: int, y: int) -> dict[str, object]:
    return {"action_type": "click", "x": x, "y": y}


def aitw(
    episode: str, step: int, length: int, number: int, *, size: tuple[int, int] = (54, 120), **changes: bytes | None
) -> bytes:
    """A step of AITW; `changes` replace features whose names have _ for /, None leaves one out."""
    width, height = size
    features: dict[str, bytes | None] = {
        "android_api_level": int_feature(12),
        "current_activity": bytes_feature("com.android.chrome/com.google.Main"),
        "device_type": bytes_feature("pixel_4"),
        "episode_id": bytes_feature(episode),
        "episode_length": int_feature(length),
        "goal_info": bytes_feature(f"goal of {episode}"),
        "image/channels": int_feature(3),
        "image/height": int_feature(height),
        "image/width": int_feature(width),
        "image/encoded": bytes_feature(bytes([step, 2, 3]) * (width * height)),
        "image/ui_annotations_positions": float_feature(0.25, 0.5, 0.25, 0.25, 0, 0, 1, 1),
        "image/ui_annotations_text": bytes_feature("Search", ""),
        "image/ui_annotations_ui_types": bytes_feature("TEXT", "ICON_HOME"),
        "results/action_type": int_feature(number),
        "results/type_action": bytes_feature(""),
        "results/yx_touch": float_feature(-1, -1),
        "results/yx_lift": float_feature(-1, -1),
        "step_id": int_feature(step),
    }
    named = {name.replace("/", "_"): name for name in features}
    features |= {named[name]: feature for name, feature in changes.items()}
    return example({name: feature for name, feature in features.items() if feature is not None})
