"""Text on simulated screens: Latin, Chinese and other scripts are legible, and unknown characters are boxes."""

import itertools
import subprocess
import sys

import pytest
from PIL import Image, ImageDraw

from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.phones.simulator.icons import NAMES
from mobile_r1_jax.phones.simulator.screen import Element, Screen, draw
from mobile_r1_jax.phones.simulator.text import built_in_font, draw_text, is_shipped, shipped_font

PIXELS = 2400 // 8 * 3 // 7  # the size of text in a row of a 1080x2400 screen
CHAT = {"template": "send", "parameters": {"name": "Anna", "word": "Hello"}, "seed": 1}
HEIGHTS = [8, 20, 28, 57, 300]


def picture(text: str, height: int = 100) -> bytes:
    image = Image.new("L", (4 * height, height), 255)
    draw_text(ImageDraw.Draw(image), text, (0, 0, 4 * height, height), fill=0)
    return image.tobytes()


def characters(codec: str, first_bytes: range) -> list[str]:
    """Return the characters of a national standard with 94 characters per row."""
    pairs = (bytes(pair) for pair in itertools.product(first_bytes, range(0xA1, 0xFF)))
    return list("".join(pair.decode(codec, errors="ignore") for pair in pairs))


def looks(text: list[str], pixels: int) -> set[bytes]:
    font = shipped_font(pixels)
    return {bytes(mask) + bytes(mask.size) for mask in (font.getmask(character) for character in text)}


@pytest.mark.parametrize(
    ("codec", "first_bytes", "count"),
    [
        ("gb2312", range(0xB0, 0xD8), 3755),  # the common Chinese characters
        ("gb2312", range(0xD8, 0xF8), 3008),  # the less common ones
        ("euc_jp", range(0xA4, 0xA6), 169),  # kana
        ("euc_jp", range(0xB0, 0xD0), 2965),  # common kanji
        ("euc_kr", range(0xB0, 0xC9), 2350),  # Hangul
    ],
)
def test_every_common_character_looks_different(codec: str, first_bytes: range, count: int) -> None:
    text = characters(codec, first_bytes)
    assert len(text) == count
    assert not [character for character in text if not is_shipped(character)]  # none is drawn as a box
    assert len(looks(text, PIXELS)) == count


@pytest.mark.parametrize(
    "text",
    ["，。！？：；、", "（）「」《》【】", "ＡＢＣ１２３％", "臺灣請問", "éüßçñÅ", "Привет", "Ελλάδα", "ệơư", "€→×≥"],
)
def test_other_symbols_and_scripts_are_drawn(text: str) -> None:
    assert all(map(is_shipped, text))
    assert len({picture(character) for character in text}) == len(set(text))


@pytest.mark.parametrize("height", HEIGHTS)
@pytest.mark.parametrize("text", [*NAMES[::8], "Type y, gjp!", "x" * 60, "“quoted” …", "98.6° ™", ""])
def test_latin_text_is_drawn_in_the_built_in_font(text: str, height: int) -> None:
    image = Image.new("L", (4 * height, height), 255)
    pen, pixels = ImageDraw.Draw(image), max(8, height * 3 // 7)
    while pixels > 8 and pen.textlength(text, font=built_in_font(pixels)) > 4 * height:
        pixels -= 1
    pen.text((0, height // 2), text, fill=0, font=built_in_font(pixels), anchor="lm")
    assert picture(text, height) == image.tobytes()


def test_latin_screens_do_not_read_the_shipped_font() -> None:
    program = (
        "from mobile_r1_jax.phones.simulator import text, device\n"
        "phone = device.Device(); phone.screenshot(); phone.launch('com.sim.settings'); phone.screenshot()\n"
        "print(text.shipped_font.cache_info().misses)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"0\n"


@pytest.mark.parametrize("text", ["😀", "สวัสดี", "مرحبا", "\x01", "\ud800", "\ufffe", "\U0010ffff"])
@pytest.mark.parametrize("height", HEIGHTS)
def test_character_without_a_glyph_is_a_visible_box(text: str, height: int) -> None:
    assert min(picture(text, height)) < 128
    assert picture(text[0], height) == picture("\uffff", height)
    assert picture(f"中{text}", height) != picture("中", height)


@pytest.mark.parametrize(
    ("apart", "joined"), [("e\u0301", "é"), ("u\u0308", "ü"), ("か\u3099", "が"), ("\u1112\u1161\u11ab", "한")]
)
def test_accents_are_joined_to_their_letters(apart: str, joined: str) -> None:
    assert picture(apart) == picture(joined) and is_shipped(joined)


def test_both_fonts_share_a_baseline_and_no_character_covers_another() -> None:
    def columns(text: str) -> list[int]:
        image = Image.frombytes("L", (400, 100), picture(text))
        return [x for x in range(400) if min(image.crop((x, 0, x + 1, 100)).tobytes()) < 128]

    latin, mixed = columns("Hi"), columns("Hi中")
    assert mixed[: len(latin)] == latin and len(mixed) > len(latin)
    box = Image.frombytes("L", (400, 100), picture("中H")).point(lambda value: 255 - value).getbbox()
    assert box is not None and abs((box[1] + box[3]) / 2 - 50) <= 4


@pytest.mark.parametrize("size", [(40, 40), (112, 224), (1080, 2400), (2160, 4800)])
def test_typed_chinese_text_is_drawn(size: tuple[int, int]) -> None:
    def typed(text: str) -> bytes:
        phone = Device(size)
        phone.reset(CHAT)
        phone.launch("com.sim.messages")
        phone.tap(*next(element for element in phone.elements() if element.name == "Anna").center(size))
        phone.type_text(text)
        assert phone.state()["page"] == "messages/chat/Anna"
        return phone.screenshot()

    assert len({typed(text) for text in ("你好", "再见", "你", "")}) == 4


def test_a_long_chinese_line_shrinks_to_fit_its_row() -> None:
    def row(text: str) -> bytes:
        return draw(Screen("", 0, (Element(text, "line", (0, 1, 4, 1)),)), (1080, 2400))

    assert len({row("汉" * count) for count in (1, 8, 20, 40)}) == 4
