"""The phones of a run on several hosts: which of them each host drives."""

import socket
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from mobile_r1_jax.phones.phone import Phone, PhonesUnavailable
from mobile_r1_jax.phones.settings import PhoneSettings

LOCAL = ("127.0.0.1", "localhost", "::1", "")


def share_phones(settings: PhoneSettings, index: int, count: int) -> tuple[PhoneSettings, int]:
    """Return the settings of the phones that host `index` of `count` drives, and the number of its first simulated one.

    `phones.count` and `phones.emulators.count` are those of all hosts. Serials on a common adb server are split; on
    servers of their own, hosts drive the phones that their own lists name. Raise PhonesUnavailable in one line if a
    host would have none.
    """
    if count == 1:
        return settings, 0
    start, end = (number * settings.count // count for number in (index, index + 1))
    emulators = replace(settings.emulators, count=_part(settings.emulators.count, index, count))
    serials, server = settings.devices.serials, settings.devices.server
    if "devices" in settings.source and server is not None and server.rpartition(":")[0] not in LOCAL:
        if "all" in serials:
            raise PhonesUnavailable(
                f"phones.devices.serials is all, of one adb server ({server}) for {count} hosts; name the serials, "
                "which are then split"
            )
        serials = serials[index::count]
    numbers = {"simulated": end - start, "emulators": emulators.count, "devices": len(serials)}
    if not all(numbers[source] for source in settings.source):
        source = next(source for source in settings.source if not numbers[source])
        field = {
            "simulated": "phones.count",
            "emulators": "phones.emulators.count",
            "devices": "phones.devices.serials",
        }
        raise PhonesUnavailable(f"{field[source]}: fewer phones than the {count} hosts; every host needs one")
    devices = replace(settings.devices, serials=serials)
    return replace(settings, count=max(1, end - start), emulators=emulators, devices=devices), start


def _part(total: int, index: int, count: int) -> int:
    return (index + 1) * total // count - index * total // count


def identities(phones: Sequence[Phone]) -> list[str]:
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
