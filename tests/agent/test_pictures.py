"""Images of every format: which become screenshots, with which pixels, and which are refused in one line."""

import io
import random
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from mobile_r1_jax.agent.pictures import check_pixels, read_picture
from mobile_r1_jax.agent.screenshots import Screenshot

WIDTH, HEIGHT = 40, 60
PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
TURNED = Image.Exif()
TURNED[0x0112] = 6


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(PIXELS).convert(mode)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(rows: bytes, *extra: bytes, width: int = WIDTH, height: int = HEIGHT, bits=8, color=2, interlace=0) -> bytes:
    """Return a PNG with correct checksums around any pixel data: `rows` is already compressed."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, interlace))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


ROWS = b"".join(b"\0" + PIXELS[y, :, :3].tobytes() for y in range(HEIGHT))
WHOLE = png(zlib.compress(ROWS))
ANIMATED = {"save_all": True, "append_images": [picture().rotate(180)]}


def test_a_png_is_kept_byte_for_byte_and_bytes_after_its_end_are_ignored() -> None:
    screenshot = read_picture(WHOLE)
    assert screenshot.png == WHOLE and np.array_equal(np.asarray(screenshot.image()), PIXELS[..., :3])
    for junk in (b"\n", b"\0" * 1000, b"adb: done", b"IEND" * 30, random.Random(0).randbytes(100_000)):
        again = read_picture(WHOLE + junk)
        assert again == screenshot and again.sha == screenshot.sha
        check_pixels(again)


@pytest.mark.parametrize(
    "data",
    [
        saved(picture(), "JPEG", quality=90),
        saved(picture(), "JPEG", progressive=True),
        saved(picture("L"), "JPEG"),
        saved(picture("CMYK"), "JPEG"),
        saved(picture(), "JPEG", exif=TURNED),
        saved(picture(), "WEBP", lossless=True),
        saved(picture(), "WEBP", quality=50),
        saved(picture(), "WEBP", exif=TURNED),
        saved(picture(), "PNG", exif=TURNED),
        saved(picture(), "MPO", save_all=True, append_images=[picture("L").convert("RGB")]),
    ],
    ids=[
        "jpeg",
        "progressive",
        "gray",
        "cmyk",
        "turned",
        "webp-lossless",
        "webp",
        "webp-turned",
        "png-turned",
        "jpeg-of-two",
    ],
)
def test_jpeg_and_webp_become_pngs_with_displayed_pixels(data: bytes) -> None:
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    screenshot = read_picture(data)
    check_pixels(screenshot)
    assert (screenshot.width, screenshot.height) == expected.size
    assert np.array_equal(np.asarray(screenshot.image()), np.asarray(expected))
    assert read_picture(data).sha == screenshot.sha


def test_transparent_webp_gets_a_white_background() -> None:
    shown = np.asarray(read_picture(saved(Image.new("RGBA", (28, 28), (9, 9, 9, 0)), "WEBP", lossless=True)).image())
    assert (shown == 255).all()


@pytest.mark.parametrize(("color", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bit_channels_keep_their_high_byte(color: int, channels: int) -> None:
    deep = np.random.default_rng(1).integers(0, 1 << 16, (HEIGHT, WIDTH, channels), np.uint16)
    if channels in (2, 4):
        deep[..., -1] = 0xFFFF
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    screenshot = read_picture(png(zlib.compress(rows), bits=16, color=color))
    check_pixels(screenshot)
    colors = deep[..., :3] if channels > 2 else deep[..., :1].repeat(3, -1)
    assert np.array_equal(np.asarray(screenshot.image()), colors >> 8)


def test_transparent_sixteen_bit_gray_becomes_white() -> None:
    rows = b"".join(b"\0" + np.full(WIDTH, y, ">u2").tobytes() for y in range(HEIGHT))
    shown = np.asarray(read_picture(png(zlib.compress(rows), chunk(b"tRNS", b"\0\5"), bits=16, color=0)).image())
    assert (shown[5] == 255).all() and (shown[4] == 0).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (saved(picture(), "PNG", **ANIMATED), "is an animation; give its frames as pictures"),
        (saved(picture(), "WEBP", **ANIMATED), "is an animation; give its frames as pictures"),
        (saved(picture(), "GIF", **ANIMATED), "no PNG"),
        (saved(picture(), "BMP"), "no PNG"),
        (b"", "no PNG"),
        (saved(picture(), "JPEG")[:1500], "cannot be decoded: image file is truncated"),
        (saved(picture(), "WEBP")[:200], "cannot be decoded"),
        (saved(picture(), "JPEG")[:20], "cannot be decoded"),
        (saved(Image.new("RGB", (5, 1200)), "JPEG"), "5x1200 pixels is not a screen"),
        (saved(Image.new("L", (16_000, 16_000)), "JPEG"), "cannot be decoded"),
        (png(b"", width=15_000, height=15_000), "15000x15000 pixels is not a screen"),
        (png(b"", width=16_384, height=2_500), "16384x2500 pixels is not a screen"),
    ],
)
def test_files_that_are_not_screen_images_are_one_line_errors(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        read_picture(data)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "data",
    [
        png(zlib.compress(ROWS)[:2000]),
        png(zlib.compress(ROWS[: len(ROWS) // 2])),  # complete compressed data of half of the rows
        png(zlib.compress(ROWS[:-1])),
        png(zlib.compress(b"")),
        png(b""),
        png(zlib.compress(ROWS[:3000]), interlace=1),
        png(zlib.compress(b"\7" + ROWS[1:])),
        png(zlib.compress(ROWS)[:-1] + b"?"),
        png(zlib.compress(ROWS), bits=5),
        png(zlib.compress(ROWS), color=7),
        png(zlib.compress(ROWS), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10_000_000)))),
        WHOLE.replace(b"IDAT", b"tEXt", 1),
    ],
    ids=[
        "cut",
        "half",
        "one-byte",
        "no-rows",
        "empty",
        "interlaced",
        "filter",
        "adler",
        "bits",
        "color",
        "text-bomb",
        "no-idat",
    ],
)
def test_missing_or_undecodable_pixels_are_detected(data: bytes) -> None:
    with pytest.raises(ValueError, match="screenshot is damaged"):
        check_pixels(read_picture(data))


def test_decompression_bomb_takes_little_memory() -> None:
    bomb = png(zlib.compress(ROWS + bytes(500_000_000), 9))
    tracemalloc.start()
    check_pixels(Screenshot(bomb))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20_000_000


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_damage_at_any_byte_gives_a_screenshot_or_a_one_line_error(kind: str) -> None:
    draw, good = random.Random(0), saved(picture(), kind)
    for _ in range(300):
        data = bytearray(good)
        for _ in range(draw.randrange(1, 4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        data = bytes(data[: draw.choice([len(data), draw.randrange(len(data))])])
        try:
            check_pixels(read_picture(data))
        except ValueError as error:
            assert len(str(error).splitlines()) == 1
