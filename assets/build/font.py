"""Makes the fonts of labelled pictures and of the page. Of the pictures: a part of Noto Sans CJK SC with Latin, Greek, signs and the 3,755 usual Chinese characters.

    python -m assets.build.font /usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc
    python -m assets.build.font FILES    # the page's font: FILES is `files` of the npm package @fontsource-variable/inter

Needs fonttools and brotli. The licence (SIL Open Font License 1.1) lies beside the font.
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


PAGE = {
    "latin": "U+0020-007E,U+00A0-00FF,U+2013-2014,U+2018-201D,U+2022,U+2026,U+2032,U+20AC,U+2122,U+2190-2193,U+2212,U+2215",
    "greek": "U+0391-03C9",
}
"""What of Inter the page carries."""


def make_page_fonts(files: Path) -> None:
    """The variable font of the page, its two parts."""
    from fontTools import subset

    for part, span in PAGE.items():
        target = OUT.with_name(f"page-{part}.woff2")
        subset.main(
            [
                str(files / f"inter-{part}-wght-normal.woff2"),
                f"--unicodes={span}",
                "--layout-features=kern,liga,calt,tnum,case,ccmp,locl,mark,mkmk",
                "--flavor=woff2",
                f"--output-file={target}",
            ]
        )
        print(f"{target.name}: {target.stat().st_size / 2**10:.0f} KiB")


def main() -> None:
    from fontTools import subset
    from fontTools.ttLib import TTCollection

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    source = parser.parse_args().source
    if source.is_dir():
        make_page_fonts(source)
        return
    collection = TTCollection(source)
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
