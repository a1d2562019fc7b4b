"""A whole grid as one picture: nothing cut off, in any script, of any number of pictures."""

import pytest
from PIL import Image

from core.studio.comparing.poster import font, lines_of
from core.studio.comparing.sheet import CELL, LARGEST, Placed, grid_picture

SETTINGS = {"prompt": "一个很大的绿色月亮 θ " * 8, "seed": 4, "model": "miniature-sd15", "steps": 25}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 64), "red").save(path)
    return path


def test_lines_fit_their_width_and_lose_nothing():
    for text in ("a large red star " * 9, "绿色的月亮" * 30, "x" * 400, "ω α β θ é"):
        lines = lines_of(text, 200, 16, 99)
        assert all(font(16).getlength(line) <= 200 for line in lines)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    cut = lines_of("word " * 100, 200, 16, 2)
    assert len(cut) == 2 and cut[-1].endswith("…") and font(16).getlength(cut[-1]) <= 200


def test_greek_and_chinese_are_in_the_font():
    blank = font(22).getmask("\U0010ffff").getbbox()
    shapes = {sign: bytes(font(22).getmask(sign)) for sign in "ωαβθδη月亮种子"}
    assert len(set(shapes.values())) == len(shapes)
    assert all(font(22).getmask(sign).getbbox() != blank for sign in shapes)


def test_small_pictures_are_enlarged_and_every_text_has_its_room(file):
    cells = {(i, j): Placed((file,), 0.5) for i in range(3) for j in range(2)}
    sheet = grid_picture(cells, ["β 0", "β 1", "β 2"], ["ω 1", "ω 3"], SETTINGS, title="种子 5")
    assert sheet.width > 3 * CELL and sheet.height > 2 * CELL
    red = sum(count for count, colour in sheet.getcolors(2**24) if colour == (255, 0, 0))
    assert red == 6 * CELL * CELL, "no cell is covered or cut"
    without = grid_picture({(0, 0): Placed((file,))}, [""], [""], {})
    assert without.height < sheet.height / 2


def test_several_seeds_share_one_cell_and_a_huge_grid_stays_a_picture(file, tmp_path):
    four = grid_picture({(0, 0): Placed((file,) * 4)}, ["a"], [""], {})
    red = sum(count for count, colour in four.getcolors(2**24) if colour == (255, 0, 0))
    assert red == 4 * ((CELL - 2) // 2) ** 2
    large = tmp_path / "b.png"
    Image.new("RGB", (1024, 1024)).save(large)
    wide = grid_picture({(i, 0): Placed((large,)) for i in range(40)}, [str(i) for i in range(40)], [""], {})
    assert wide.width < LARGEST + 40 * 10 + 100
