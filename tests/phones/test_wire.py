"""The device side of adb's protocol, without a server."""

import random

import pytest

from mobile_r1_jax.phones.simulator.android.wire import (
    CNXN,
    MAX_PAYLOAD,
    OKAY,
    WRTE,
    Decoder,
    Message,
    WireError,
    encode,
)


def test_messages_do_not_depend_on_how_bytes_are_split() -> None:
    messages = [Message(CNXN, 1, 2, b"host::\0"), Message(OKAY, 3, 4), Message(WRTE, 5, 6, bytes(range(256)) * 9)]
    data = b"".join(map(encode, messages))
    rng = random.Random(0)
    for _ in range(50):
        decoder, read, at = Decoder(), [], 0
        while at < len(data):
            step = rng.choice((1, 7, 24, 500))
            read += decoder.feed(data[at : at + step])
            at += step
        assert read == messages


def test_a_header_is_24_bytes_with_the_inverted_command_last() -> None:
    assert encode(Message(OKAY, 7, 9)).hex() == "4f4b415907000000090000000000000000000000b0b4bea6"


@pytest.mark.parametrize("wrong", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", encode(Message(WRTE, 1, 1))[:20] + bytes(4)])
def test_invalid_header_is_an_error(wrong: bytes) -> None:
    with pytest.raises(WireError, match="bad adb header"):
        list(Decoder().feed(wrong))


def test_payload_over_the_agreed_size_is_refused_before_reading() -> None:
    header = bytearray(encode(Message(WRTE, 1, 1)))
    header[12:16] = (MAX_PAYLOAD + 1).to_bytes(4, "little")
    with pytest.raises(WireError):
        list(Decoder().feed(bytes(header)))
