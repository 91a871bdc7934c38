"""The phones of a run on several hosts: which of them each host drives."""

import socket
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from mobile_r1_jax.phones.adb.stream import ServerAddress
from mobile_r1_jax.phones.phone import PhonesUnavailable
from mobile_r1_jax.phones.providers.devices import ALL, address_of
from mobile_r1_jax.phones.settings import PhoneSettings

LOCAL = ("127.0.0.1", "localhost", "::1", "")


class Named(Protocol):
    """A phone, or what names one. Simulated phones have a server of their own."""

    @property
    def serial(self) -> str: ...


@dataclass(frozen=True)
class Listed:
    """A phone that the settings name."""

    serial: str
    server: ServerAddress


def share_phones(settings: PhoneSettings, index: int, count: int) -> tuple[PhoneSettings, int]:
    """Return the settings of the phones that host `index` of `count` drives, and the number of its first simulated one.

    `phones.count` and `phones.emulators.count` are those of all hosts. Serials on a common adb server are split; on
    servers of their own, hosts drive the phones that their own lists name. Raise PhonesUnavailable in one line if a
    host would have none, on all of them where the settings are alike.
    """
    if count == 1:
        return settings, 0
    start, end = (number * settings.count // count for number in (index, index + 1))
    emulators = replace(settings.emulators, count=_part(settings.emulators.count, index, count))
    serials, server = settings.devices.serials, settings.devices.server
    split = "devices" in settings.source and server is not None and server.rpartition(":")[0].strip("[]") not in LOCAL
    if split:
        if "all" in serials:
            raise PhonesUnavailable(
                f"phones.devices.serials is all, of one adb server ({server}) for {count} hosts; name the serials, "
                "which are then split"
            )
        serials = serials[index::count]
    fewest = {"simulated": settings.count // count, "emulators": settings.emulators.count // count}
    fewest["devices"] = len(settings.devices.serials[count - 1 :: count]) if split else len(serials)
    fields = {"simulated": "count", "emulators": "emulators.count", "devices": "devices.serials"}
    if short := [fields[source] for source in settings.source if not fewest[source]]:
        raise PhonesUnavailable(f"phones.{short[0]}: fewer phones than the {count} hosts; every host needs one")
    devices = replace(settings.devices, serials=serials)
    return replace(settings, count=max(1, end - start), emulators=emulators, devices=devices), start


def _part(total: int, index: int, count: int) -> int:
    return (index + 1) * total // count - index * total // count


def listed(settings: PhoneSettings) -> list[Listed]:
    """Return the phones that the settings name one by one, before any is opened. Raise PhonesUnavailable."""
    if "devices" not in settings.source:
        return []
    server = address_of(settings.devices.server)
    return [Listed(serial, server) for serial in settings.devices.serials if serial != ALL]


def identities(phones: Sequence[Named]) -> list[str]:
    """Return names of phones that are equal only for the same phone, wherever they are driven from.

    A phone behind an adb server of this host is its own, unless adb reaches it over the network."""
    names = []
    for phone in phones:
        server, serial = str(getattr(phone, "server", "")), phone.serial
        host = server.rpartition(":")[0].strip("[]")
        over_network = ":" in serial and serial.rpartition(":")[0].strip("[]") not in LOCAL
        place = (
            "" if over_network else socket.gethostname() + f" {server}" * (host in LOCAL) if host in LOCAL else server
        )
        names.append(f"{serial} {place}".strip())
    return names


def find_double(of_hosts: Sequence[Sequence[str]]) -> str | None:
    """Return a phone that several hosts name, and the hosts, in words; None if there is none."""
    hosts = defaultdict(list)
    for index, names in enumerate(of_hosts):
        for name in names:
            hosts[name].append(str(index))
    double = next((name for name, indices in hosts.items() if len(indices) > 1), None)
    return None if double is None else f"{double.split()[0]} is driven by processes {' and '.join(hosts[double])}"
