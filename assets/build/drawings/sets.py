"""Draws the icon sets' drawings of the things to pixels. It needs the packages' files and resvg-py, and only the build does.

    mkdir PACKS && cd PACKS
    npm pack @iconify-json/noto@1.2.9 @iconify-json/noto-v1@1.2.5 @iconify-json/fluent-emoji@1.2.7 \
        @iconify-json/fluent-emoji-flat@1.2.6 @iconify-json/twemoji@1.2.5 @iconify-json/emojione@1.2.3
    python -m assets.build.drawings.sets PACKS WORK/drawings.npy
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from core.miniature.drawings.words import ICONS, STYLES

SIDE = 128
"""Pixels of a kept drawing: more than any scene shows it at."""


def read_set(folder: Path, name: str) -> dict[str, Any]:
    """The `icons.json` of the packed set `name` in `folder`."""
    packed = sorted(folder.glob(f"iconify-json-{name}-[0-9]*.tgz"))
    if len(packed) != 1:
        raise SystemExit(f"{folder} holds {len(packed)} packages of {name}; exactly one is needed")
    with tarfile.open(packed[0]) as archive:
        member = archive.extractfile("package/icons.json")
        if member is None:
            raise SystemExit(f"{packed[0].name} has no icons.json")
        return json.load(member)


def as_svg(icons: dict[str, Any], name: str) -> str:
    """The SVG document of one drawing; an alias is followed to the drawing it names."""
    while name in icons.get("aliases", {}):
        name = icons["aliases"][name]["parent"]
    icon = icons["icons"][name]
    left, top = icon.get("left", 0), icon.get("top", 0)
    width, height = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}" width="{SIDE}" height="{SIDE}">{icon["body"]}</svg>'
    )


def draw(svg: str) -> np.ndarray:
    """(SIDE, SIDE, 4) uint8 with straight alpha, cut to what is drawn and centred with a thin margin."""
    import resvg_py

    encoded = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=2 * SIDE, height=2 * SIDE))
    image = Image.open(io.BytesIO(encoded)).convert("RGBA")
    box = image.getchannel("A").point(lambda alpha: 255 if alpha > 8 else 0).getbbox()
    if box is None:
        raise ValueError("nothing is drawn")
    cut = image.crop(box)
    room = SIDE - 4
    scale = room / max(cut.size)
    size = (max(1, round(cut.width * scale)), max(1, round(cut.height * scale)))
    # premultiplied while it is resized, so that no colour of transparent pixels comes in
    small = cut.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")
    canvas = Image.new("RGBA", (SIDE, SIDE))
    canvas.paste(small, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return np.asarray(canvas)


def main() -> None:
    """Reads the command line and writes (styles, things, SIDE, SIDE, 4)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packs", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    drawings = np.zeros((len(STYLES), len(ICONS), SIDE, SIDE, 4), np.uint8)
    for row, (style, package) in enumerate(STYLES.items()):
        icons = read_set(options.packs, package)
        for column, icon in enumerate(ICONS.values()):
            try:
                drawings[row, column] = draw(as_svg(icons, icon))
            except (KeyError, ValueError) as error:
                raise SystemExit(f"{package} has no usable {icon}: {error}") from error
        print(style, package, len(ICONS), flush=True)
    np.save(options.out, drawings)


if __name__ == "__main__":
    main()
