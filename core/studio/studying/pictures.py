"""Pictures as voters get them: re-encoded, so that nothing in a file tells where it is from. Pillow alone."""

from __future__ import annotations

from pathlib import Path

from core.errors import Damaged, StudioError
from core.files import cannot_read, whole_file

MOST_PIXELS = 4_096**2


def copy_without_metadata(source: Path, target: Path) -> tuple[int, int]:
    """Copies the pixels of a picture into a lossless WebP file and nothing else; its width and height.

    Raises:
        StudioError: the source cannot be read, is larger than 16 megapixels, or the disk refuses the copy.
        Damaged: it is not a picture, or is cut off.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(source) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise StudioError("“{name}” has more than 16 megapixels.", "Choose smaller pictures.", name=source.name)
            pixels = opened.convert("RGB")
    except UnidentifiedImageError as error:
        raise Damaged("“{name}” is not a picture.", "Choose another file.", name=source.name) from error
    except (FileNotFoundError, PermissionError) as error:
        raise cannot_read(source.name, error) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Damaged("“{name}” is cut off or damaged.", "Choose another file.", name=source.name) from error
    bare = Image.new("RGB", pixels.size)
    bare.paste(pixels)  # a new picture has no `info`: no profile, no text, no EXIF
    with whole_file(target) as staged:
        bare.save(staged, format="WEBP", lossless=True, quality=60, method=2)
    return bare.size
