"""The miniature's world: captions say what the picture shows, and the same scene is always the same picture."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.errors import StudioError
from core.miniature.language import Scene
from core.miniature.world.render import COLOR_VALUES, render, shape_distance
from core.miniature.world.scene import (
    ATTRIBUTES,
    FLAWS,
    SHAPES,
    caption,
    describe,
    parse,
    sample_prompts,
    sample_scene,
    vocabulary,
)


def scene(**changes):
    attributes = {"first_shape": "circle", "first_color": "red", "first_size": "large", "first_texture": "matte"}
    attributes |= {"layout": "middle", "ground": "gray", "pattern": "plain", "light": "left"}
    flaw = changes.pop("flaw", "clean")
    return Scene({**attributes, **changes}, flaw, seed=3)


@given(st.integers(0, 2**32), st.floats(0, 1))
def test_what_a_caption_says_is_what_is_read_from_it(seed, keep):
    rng = np.random.default_rng(seed)
    shown = sample_scene(rng, pairs=0.5)
    asked = parse(caption(shown, rng, keep=keep))
    assert asked.items() <= shown.attributes.items() and "first_shape" in asked
    assert parse(describe(asked)) == asked


def test_the_vocabulary_is_about_sixty_words_and_holds_every_word_used():
    words = set(vocabulary())
    assert 45 <= len(words) <= 70
    for text in sample_prompts(500, seed=1):
        assert set(text.replace(",", " ,").split()) <= words


@pytest.mark.parametrize("text", ["a dog", "", "red circle", "a red circle, on fire", "a circle beside a square"])
def test_a_sentence_of_another_world_is_refused_with_an_example(text):
    with pytest.raises(StudioError, match="miniature.s world") as refused:
        parse(text)
    assert refused.value.remedy


def test_the_same_scene_is_the_same_picture_and_the_seed_moves_it():
    one, other = scene(), Scene(scene().attributes, "clean", seed=4)
    assert torch.equal(render([one, other])[0], render([one])[0])
    assert not torch.equal(render([one])[0], render([other])[0])


def test_colours_places_and_light_are_where_the_scene_says():
    picture = render([scene(first_color="blue", layout="left"), scene(first_color="blue", layout="right")])
    blue = picture[:, 2] - picture[:, 0] > 0.25
    columns = torch.arange(64.0)
    assert (blue[0] * columns).sum() / blue[0].sum() < 28 and (blue[1] * columns).sum() / blue[1].sum() > 36
    lit = render([scene(light="left"), scene(light="right")])
    centre = lit[:, 0, 22:42, :]
    assert centre[0, :, 22:32].mean() > centre[0, :, 32:42].mean()
    assert centre[1, :, 22:32].mean() < centre[1, :, 32:42].mean()
    assert len(COLOR_VALUES) == len(ATTRIBUTES["first_color"])


@pytest.mark.parametrize("flaw", FLAWS[1:])
def test_a_flaw_changes_the_picture_and_stays_in_range(flaw):
    clean, spoilt = render([scene()])[0], render([scene(flaw=flaw)])[0]
    assert (clean - spoilt).abs().mean() > 0.005
    assert spoilt.min() >= 0 and spoilt.max() <= 1


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_solid_inside_empty_far_away_and_its_distance_never_grows_faster_than_space(shape):
    grid = torch.linspace(-1.6, 1.6, 161)
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    distance = shape_distance(shape, x, y)
    assert 0.15 < (distance < 0).double().mean() * 3.2**2 / 3.14 < 1.1
    assert (distance[x.hypot(y) > 1.4] > 0).all()
    step = grid[1] - grid[0]
    assert distance.diff(dim=0).abs().max() <= step * 1.05 and distance.diff(dim=1).abs().max() <= step * 1.05


def test_half_the_pixels_edges_are_antialiased():
    edges = render([scene(ground="black", first_color="white")])[0, 0]
    assert len(edges.unique()) > 50
