"""Screenshots, the size at which the model sees them, and their patches."""

import hashlib
import io
import random
import zlib

import numpy as np
import pytest
from PIL import Image

from mobile_r1_jax.agent.frames import Frame
from mobile_r1_jax.agent.screenshots import Resizing, Screenshot, patches, smart_resize


def png(width: int, height: int, mode: str = "RGB", seed: int = 0) -> bytes:
    shape = (height, width, len(mode)) if len(mode) > 1 else (height, width)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, mode if len(mode) > 1 else "L").save(file, "PNG")
    return file.getvalue()


def test_size_and_hash_are_known_without_decoding() -> None:
    header = b"\x89PNG\r\n\x1a\n" + bytes([0, 0, 0, 13]) + b"IHDR" + bytes([0, 0, 4, 56, 0, 0, 9, 96]) + bytes(9)
    content = header + b"no pixels here" + b"\0\0\0\0IEND\xaeB`\x82"
    screenshot = Screenshot(content)
    assert (screenshot.width, screenshot.height) == (1080, 2400)
    assert screenshot.sha == hashlib.sha256(content).hexdigest()
    assert screenshot.frame == Frame("screenshot", 1080, 2400)
    assert screenshot == Screenshot(bytes(content)) and "no pixels" not in repr(screenshot)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no PNG"),
        (b"error: device offline", "no PNG"),
        (b"\0\0\0\x18ftypmp42" + bytes(40), "is a video of 52 bytes; give its frames as PNGs"),
        (png(28, 28)[:200], "cut short"),
        (png(28, 28)[:16] + bytes(8) + png(28, 28)[24:], "0x0 pixels is not a screen"),
        (png(28, 28)[:16] + b"\0\2\0\0" * 2 + png(28, 28)[24:], "131072x131072 pixels is not a screen"),
        (png(10, 2001), "10x2001 pixels is not a screen"),
    ],
)
def test_bytes_that_are_not_a_complete_png_are_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Screenshot(content)


def test_a_flipped_bit_is_found_by_its_checksum() -> None:
    content = bytearray(png(28, 28))
    Screenshot(bytes(content)).verify()
    content[100] ^= 1
    with pytest.raises(ValueError, match="damaged"):
        Screenshot(bytes(content)).verify()


@pytest.mark.parametrize(
    ("size", "max_pixels", "expected"),
    [
        ((1080, 2400), 10**9, (1092, 2408)),
        ((1080, 2400), 1_003_520, (672, 1484)),
        ((1080, 2400), 500_000, (448, 1036)),
        ((720, 1280), 10**9, (728, 1288)),
        ((1440, 3120), 10**9, (1428, 3108)),
        ((30, 30), 10**9, (56, 56)),
    ],
)
def test_smart_resize_gives_known_sizes(size: tuple[int, int], max_pixels: int, expected: tuple[int, int]) -> None:
    assert smart_resize(*size, min_pixels=56 * 56, max_pixels=max_pixels) == expected


def test_smart_resize_equals_transformers() -> None:
    from transformers.models.qwen2_vl import image_processing_pil_qwen2_vl as theirs

    draw = random.Random(0)
    for _ in range(2000):
        width, height = draw.randrange(10, 2000), draw.randrange(10, 2000)
        limits = {"min_pixels": draw.choice([784, 3136, 50_000]), "max_pixels": draw.choice([60_000, 401_408, 10**7])}
        assert smart_resize(width, height, **limits) == theirs.smart_resize(height, width, **limits)[::-1]


def test_an_aspect_ratio_over_200_is_an_error() -> None:
    smart_resize(200, 1, min_pixels=1, max_pixels=10**6)
    with pytest.raises(ValueError, match="200 times"):
        smart_resize(201, 1, min_pixels=1, max_pixels=10**6)


def test_published_resizing_maps_1440x3200_to_420x924() -> None:
    assert Resizing().model_size(1440, 3200) == (420, 924)


def test_scaling_comes_before_rounding() -> None:
    assert (
        Resizing().model_size(1080, 2400) == smart_resize(324, 720, min_pixels=3136, max_pixels=401_408) == (336, 728)
    )
    assert Resizing(scale=1.0).model_size(112, 224) == (112, 224)


def test_model_frame_depends_on_the_screenshot_size() -> None:
    assert Resizing(scale=1.0).model_frame(Screenshot(png(100, 230))) == Frame("model", 112, 224)


def processed(content: bytes, **size: int) -> np.ndarray:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    processor = Qwen2VLImageProcessorPil(**size)
    return processor(Image.open(io.BytesIO(content)), return_tensors="np")["pixel_values"]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_patches_equal_transformers_without_resizing(mode: str) -> None:
    content = png(84, 56, mode)
    ours = patches(Screenshot(content), (84, 56))
    assert ours.dtype == np.float32 and ours.shape == (4 * 6, 1176)
    np.testing.assert_allclose(ours, processed(content, min_pixels=784, max_pixels=10**6), atol=1e-5)


def test_patches_equal_transformers_with_resizing() -> None:
    content = png(101, 190)
    resizing = Resizing(scale=1.0, min_pixels=784, max_pixels=15_000)
    screenshot = Screenshot(content)
    size = resizing.model_size(screenshot.width, screenshot.height)
    assert size == (84, 140)
    theirs = processed(content, min_pixels=784, max_pixels=15_000)
    np.testing.assert_allclose(patches(screenshot, size), theirs, atol=1e-5)


def test_patches_of_another_merge_size_keep_every_pixel() -> None:
    content = png(84, 42)
    ours = patches(Screenshot(content), (84, 42), merge=3)
    plain = patches(Screenshot(content), (84, 42), merge=1)
    assert sorted(map(zlib.crc32, ours)) == sorted(map(zlib.crc32, plain))


def test_size_that_patches_do_not_fill_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a multiple of 28"):
        patches(Screenshot(png(84, 56)), (84, 42))


def test_an_impossible_resizing_is_an_error() -> None:
    with pytest.raises(ValueError, match="impossible"):
        Resizing(min_pixels=1000, max_pixels=10)
