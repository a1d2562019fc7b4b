"""Makes the font of labelled pictures: a part of Noto Sans CJK SC with Latin, Greek, signs and the 3,755 usual Chinese characters.

    python -m assets.build.font /usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc

Needs fonttools. The licence (SIL Open Font License 1.1) lies beside the font.
"""

from __future__ import annotations

import argparse
from pathlib import Path

OUT = Path(__file__).parents[1] / "fonts" / "labels.otf"
SIMPLIFIED = "Noto Sans CJK SC"


def characters() -> set[int]:
    """What the font can write: Latin, Greek, punctuation, arrows and the first level of GB 2312."""
    spans = ((0x20, 0x17F), (0x370, 0x3FF), (0x2010, 0x2027), (0x2190, 0x2193), (0x2200, 0x222B), (0x3000, 0x3011))
    wanted = {code for low, high in spans for code in range(low, high + 1)}
    wanted |= set(range(0xFF01, 0xFF5F)) | {ord(sign) for sign in "★·×−≈≤≥…"}
    for row in range(0xB0, 0xD8):
        for column in range(0xA1, 0xFF):
            wanted |= {ord(sign) for sign in bytes((row, column)).decode("gb2312", errors="ignore")}
    return wanted


def main() -> None:
    from fontTools import subset
    from fontTools.ttLib import TTCollection

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("collection", type=Path)
    collection = TTCollection(parser.parse_args().collection)
    font = next(one for one in collection.fonts if one["name"].getBestFullName().startswith(SIMPLIFIED))
    options = subset.Options(layout_features=[], hinting=False, name_IDs=[0, 1, 2, 4, 6, 13, 14], desubroutinize=False)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=characters())
    subsetter.subset(font)
    OUT.parent.mkdir(exist_ok=True)
    font.save(OUT)
    print(f"{OUT.name}: {OUT.stat().st_size / 2**20:.2f} MiB, {len(font.getBestCmap())} characters")


if __name__ == "__main__":
    main()
