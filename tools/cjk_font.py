"""Make the font that simulated phones draw Chinese, Japanese, Korean and accented text with.

    python -m venv /tmp/fonts && /tmp/fonts/bin/pip install fonttools==4.68.0 paperang-p2-fonts-cjk==0.1.0
    /tmp/fonts/bin/python tools/cjk_font.py

The source is WenQuanYi Micro Hei 0.2.0-beta under the Apache License 2.0. Debian's package fonts-wqy-microhei has the
same file. The result is the same bytes on every machine.
"""

import hashlib
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont
from fontTools.ttLib.scaleUpem import scale_upem

SOURCE_SHA256 = "2420e8078af796b19a3f6ef13de527a1a91c1e7171eea115926c614ced1009b3"
RESULT = Path(__file__).resolve().parent.parent / "mobile_r1_jax/phones/simulator/fonts/wqy-microhei-subset.ttf"
UNITS_PER_EM = 1024  # half the source's: enough for the largest screens, and fewer bytes

BYTES = range(0xA1, 0xFF)
COMMON = {  # codec -> first bytes of the common characters
    "gb2312": BYTES,  # simplified Chinese: 6,763 characters
    "big5": range(0xA1, 0xC7),  # traditional Chinese: 5,401 characters
    "euc_jp": range(0xA1, 0xD0),  # Japanese: kana and 2,965 characters
    "euc_kr": range(0xA1, 0xC9),  # Korean: 2,350 syllables
}
BUILT_IN = set("©«°±´·»‘’“”…‹›⁄™")  # Pillow's built-in font has ASCII and these
BLOCKS = (  # [first, last) code points that are kept whole
    (0xA0, 0x530),  # Latin with accents, Greek, Cyrillic
    (0x1E00, 0x1F00),  # Vietnamese
    (0x2000, 0x2070),  # punctuation
    (0x20A0, 0x20D0),  # currencies
    (0x2100, 0x2600),  # arrows, mathematics, boxes
    (0x3000, 0x3400),  # CJK punctuation, kana
    (0xFF00, 0xFFF0),  # full-width forms
)


def characters_of(codec: str, first_bytes: Iterable[int]) -> set[str]:
    """Return the characters that a two-byte codec has for these first bytes."""
    second_bytes = range(0x40, 0xFF) if codec == "big5" else BYTES
    pairs = (bytes([first, second]) for first in first_bytes for second in second_bytes)
    return set("".join(pair.decode(codec, errors="ignore") for pair in pairs))


def make(source: Path, result: Path) -> int:
    """Write the subset of `source` to `result`. Return its number of characters."""
    font = TTFont(source, fontNumber=0, recalcTimestamp=False)
    wanted = set().union(*(characters_of(codec, first_bytes) for codec, first_bytes in COMMON.items()))
    wanted |= {chr(code) for code in font.getBestCmap() if any(first <= code < last for first, last in BLOCKS)}
    options = subset.Options(notdef_outline=True, hinting=False, layout_features=[])
    options.drop_tables += ["kern", "vhea", "vmtx", "gasp", "FFTM", "GSUB", "GPOS", "GDEF"]
    subsetter = subset.Subsetter(options)
    subsetter.populate(text="".join(char for char in wanted - BUILT_IN if not char.isascii()))
    subsetter.subset(font)
    scale_upem(font, UNITS_PER_EM)
    font.save(result)
    return len(font.getBestCmap())


def main() -> None:
    package = find_spec("paperang_p2_fonts_cjk")
    if package is None or package.origin is None:
        raise SystemExit(f"error: the source font is not installed\n{__doc__}")
    source = Path(package.origin).parent / "fonts" / "wqy-microhei.ttc"
    if hashlib.sha256(source.read_bytes()).hexdigest() != SOURCE_SHA256:
        raise SystemExit(f"error: {source}: not WenQuanYi Micro Hei 0.2.0-beta")
    RESULT.parent.mkdir(exist_ok=True)
    count = make(source, RESULT)
    print(f"{RESULT}: {count} characters, {RESULT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
