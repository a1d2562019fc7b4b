"""What the page says of a value that cannot be: at the field while it is typed, and by the server, without a browser."""

import gradio as gr
import pytest

from app.page.components import Dropdown, Slider
from app.page.html import fault
from app.page.ranges import ranges
from core.errors import StudioError
from core.generation.settings import FIELDS, Settings


def test_the_browser_knows_the_range_of_every_number_and_a_sentence_in_both_languages():
    known = ranges()
    assert set(known) == {name for name, about in FIELDS.items() if about.kind in (int, float) and any(about.range)}
    for name, about in known.items():
        low = -1 if name == "seed" else FIELDS[name].range[0]
        assert (about["low"], about["high"]) == (low, FIELDS[name].range[1])
        assert (
            FIELDS[name].label in about["english"] and "{value}" in about["english"] and "{value}" in about["chinese"]
        )


def test_the_servers_sentence_calls_a_setting_what_the_form_calls_it():
    with pytest.raises(StudioError) as refused:
        Settings.from_values({"omega": 99})
    assert "<b>Strength ω is 99, outside 0 to 30.</b>Choose Strength ω from 0 to 30." in fault(refused.value)


def test_a_slider_hands_on_any_number_and_a_list_names_itself():
    assert Slider(0, 1, label="A").preprocess(99) == 99
    with pytest.raises(gr.Error, match="takes a number"):
        Slider(0, 1, label="Steps").preprocess("many")
    assert Dropdown(["a", "b"], label="Steps").preprocess("a") == "a"
    assert Dropdown(["a"], label="Steps").preprocess("sdxl-mini-negative") == "sdxl-mini-negative", (
        "its list may have changed"
    )
    with pytest.raises(gr.Error, match="“../etc” is not in the list “Steps”"):
        Dropdown(["a", "b"], label="Steps").preprocess("../etc")
