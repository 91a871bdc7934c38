"""The phones of each host, and the error for a phone on two hosts."""

from dataclasses import dataclass

import pytest

from mobile_r1_jax.phones.phone import PhonesUnavailable
from mobile_r1_jax.phones.providers.shares import find_double, identities, listed, share_phones
from mobile_r1_jax.phones.settings import DeviceSettings, EmulatorSettings, PhoneSettings


@dataclass
class Known:
    serial: str
    server: str


@pytest.mark.parametrize(("total", "hosts"), [(4, 2), (7, 3), (16, 16), (1, 1), (9, 4)])
def test_simulated_phones_are_split_evenly_and_keep_their_numbers(total: int, hosts: int) -> None:
    shares = [share_phones(PhoneSettings(count=total), index, hosts) for index in range(hosts)]
    numbers = [number for settings, first in shares for number in range(first, first + settings.count)]
    assert numbers == list(range(total))
    assert max(settings.count for settings, _ in shares) - min(settings.count for settings, _ in shares) <= 1


def test_serials_of_a_shared_server_are_split_and_those_of_a_local_server_are_not() -> None:
    common = PhoneSettings(("devices",), devices=DeviceSettings("10.0.0.9:5037", ("a", "b", "c")))
    assert [share_phones(common, index, 2)[0].devices.serials for index in (0, 1)] == [("a", "c"), ("b",)]
    for server in (None, "127.0.0.1:5037", "localhost:5038", "[::1]:5037"):
        own = PhoneSettings(("devices",), devices=DeviceSettings(server, ("a", "b")))
        assert share_phones(own, 1, 2)[0].devices.serials == ("a", "b")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (PhoneSettings(count=3), "phones.count"),
        (PhoneSettings(("emulators",), emulators=EmulatorSettings("avd", count=2)), "phones.emulators.count"),
        (PhoneSettings(("devices",), devices=DeviceSettings("10.0.0.9:5037", ("a",))), "phones.devices.serials"),
        (PhoneSettings(("devices",), devices=DeviceSettings("10.0.0.9:5037")), "name the serials"),
    ],
)
def test_host_without_a_phone_is_a_one_line_error_on_every_host(settings: PhoneSettings, says: str) -> None:
    for index in range(4):
        with pytest.raises(PhonesUnavailable, match=says) as caught:
            share_phones(settings, index, 4)
        assert "\n" not in str(caught.value)


def test_phone_in_two_lists_is_found_before_a_phone_is_opened() -> None:
    wifi = PhoneSettings(("devices",), devices=DeviceSettings("127.0.0.1:5037", ("all", "192.168.0.7:5555", "R58M")))
    names = identities(listed(wifi))
    assert len(names) == 2 and find_double([names, names]) == "192.168.0.7:5555 is driven by processes 0 and 1"
    assert listed(PhoneSettings(devices=DeviceSettings("127.0.0.1:5037", ("R58M",)))) == []


def test_same_phone_on_two_hosts_is_detected() -> None:
    local, network = Known("emulator-5554", "127.0.0.1:5037"), Known("192.168.0.7:5555", "127.0.0.1:5037")
    remote = Known("R58M", "10.0.0.9:5037")
    assert identities([remote]) == identities([Known("R58M", "10.0.0.9:5037")])
    assert identities([network]) == identities([Known("192.168.0.7:5555", "localhost:5099")])
    assert identities([local]) != identities([Known("emulator-5554", "127.0.0.1:5099")])
    assert identities([remote]) != identities([Known("R58M", "10.0.0.8:5037")])
    assert find_double([["a", "b"], ["c"], []]) is None
    assert find_double([["a"], ["b"], ["a"]]) == "a is driven by processes 0 and 2"
