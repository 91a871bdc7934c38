"""The manifest of an APK: a zip file with AndroidManifest.xml in Android's binary XML."""

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass

_STRING_POOL, _START_ELEMENT = 0x0001, 0x0102
_UTF8 = 1 << 8
_LARGEST = 4 * 2**20  # bytes of a manifest
_DAMAGE = (  # what zipfile, zlib and struct raise for damaged files
    zipfile.BadZipFile, zlib.error, struct.error, KeyError, IndexError, ValueError, EOFError, RuntimeError, OSError,
)  # fmt: skip


class NotApk(Exception):
    """Bytes that are not an APK."""


@dataclass(frozen=True)
class Manifest:
    """The fields of an APK that an installation reads. `abis` are the folders of native code; none means any phone."""

    package: str
    version_code: int
    test_only: bool
    abis: frozenset[str]


def read_manifest(data: bytes) -> Manifest:
    """Return the manifest of an APK. Raises NotApk."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if archive.getinfo("AndroidManifest.xml").file_size > _LARGEST:
                raise NotApk("the manifest is too large")
            xml = archive.read("AndroidManifest.xml")
            names = [name.split("/") for name in archive.namelist()]
        manifest = dict(_attributes(xml, "manifest"))
        application = dict(_attributes(xml, "application"))
    except _DAMAGE as error:
        raise NotApk(str(error)) from error
    if not manifest.get("package"):
        raise NotApk("no package")
    abis = frozenset(parts[1] for parts in names if parts[0] == "lib" and len(parts) == 3)
    version = manifest.get("versionCode")
    return Manifest(
        str(manifest["package"]), version if isinstance(version, int) else 0, bool(application.get("testOnly")), abis
    )


def _attributes(xml: bytes, element: str) -> list[tuple[str, str | int]]:
    """Return the attributes of the first element with that name: strings, or the numbers of typed values."""
    strings: list[str] = []
    at = 8
    while at + 8 <= len(xml):
        kind, head, size = struct.unpack_from("<HHI", xml, at)
        if size < 8:
            raise ValueError("bad chunk")
        if kind == _STRING_POOL:
            strings = _strings(xml, at)
        elif kind == _START_ELEMENT:
            name, start, width, count = struct.unpack_from("<4xIHHH", xml, at + head)
            if strings[name] == element:
                found = []
                for index in range(count):
                    where = at + head + start + index * width
                    _, key, raw, _, value = struct.unpack_from("<IIIII", xml, where)
                    found.append((strings[key], strings[raw] if raw != 0xFFFFFFFF else value))
                return found
        at += size
    return []


def _strings(xml: bytes, at: int) -> list[str]:
    _, head, _, count, _, flags, start = struct.unpack_from("<HHIIIII", xml, at)
    texts = []
    for index in range(count):
        (offset,) = struct.unpack_from("<I", xml, at + head + 4 * index)
        where = at + start + offset
        if flags & _UTF8:
            where += 2 if xml[where] & 0x80 else 1  # the length in characters
            length, where = _length(xml, where, 1)
            texts.append(xml[where : where + length].decode())
        else:
            length, where = _length(xml, where, 2)
            texts.append(xml[where : where + 2 * length].decode("utf-16-le"))
    return texts


def _length(xml: bytes, where: int, width: int) -> tuple[int, int]:
    """Return a length of one or two units of `width` bytes, and the index after it."""
    unit = int.from_bytes(xml[where : where + width], "little")
    top = 1 << (8 * width - 1)
    if not unit & top:
        return unit, where + width
    second = int.from_bytes(xml[where + width : where + 2 * width], "little")
    return (unit & (top - 1)) << (8 * width) | second, where + 2 * width
