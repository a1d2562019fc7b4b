"""The settings: flat outside, in groups inside, checked once, and old ones keep opening."""

import dataclasses
import json

import pytest

from core.errors import StudioError
from core.training.config import FIELDS, TrainConfig, recipe
from core.training.cost import row_forwards_per_sample
from core.training.settings import GROUPS, LossSettings
from tests.training.variants import config


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"learning_rte": 1}, "Did you mean learning_rate"),
        ({"steps": 0}, "steps is 0, outside 1 to"),
        ({"steps": "5"}, "steps must be a whole number, not '5'"),
        ({"steps": 5.5}, "steps must be a whole number, not 5.5"),
        ({"steps": None}, "steps must be a whole number"),
        ({"steps": True}, "steps must be a whole number, not True"),
        ({"freeze_down": 1}, "freeze_down must be true or false"),
        ({"preview_prompts": "one"}, "preview_prompts must be a list of texts"),
        ({"preview_prompts": ["one", 2]}, "preview_prompts must be a list of texts"),
        ({"weights": "dora"}, "Choose one of lora, full"),
        ({"weights": 3}, "weights must be a text"),
        ({"learning_rate": float("nan")}, "outside"),
        ({"learning_rate": float("inf")}, "outside"),
        ({"rollout_steps": 25}, "full simulation"),
        ({"start": "images"}, "needs images_folder"),
        ({"s_min": 0.9, "s_max": 0.2}, "not below"),
    ],
)
def test_bad_settings_are_refused_with_the_remedy(values, sentence):
    for make in (TrainConfig.from_dict, lambda values: TrainConfig(**values)):
        with pytest.raises(StudioError, match=sentence) as refused:
            make(values)
        assert refused.value.remedy
    with pytest.raises(StudioError):
        dataclasses.replace(TrainConfig(), **values)


def test_numbers_as_json_and_number_fields_write_them_are_taken():
    made = TrainConfig.from_dict({"steps": 5.0, "learning_rate": 1, "preview_prompts": ["a"]})
    assert (made.steps, made.learning_rate, made.preview_prompts) == (5, 1.0, ("a",))
    assert isinstance(made.steps, int) and isinstance(made.learning_rate, float)


@pytest.mark.parametrize("name", ["paper", "studio"])
def test_recipes_are_valid_and_survive_json(name):
    made = recipe(name)
    assert TrainConfig.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_every_setting_has_one_owner_and_the_config_is_all_of_them():
    declared = [name for group in GROUPS for name in group.__pydantic_fields__]
    assert len(declared) == len(set(declared)) and list(FIELDS) == declared == list(TrainConfig().to_dict())
    assert isinstance(TrainConfig(), LossSettings) and FIELDS["huber_c"].group == "LossSettings"
    assert all(rule.help.endswith(".") for rule in FIELDS.values())
    for name, rule in FIELDS.items():
        value = TrainConfig().to_dict()[name]
        assert not rule.one_of or value in rule.one_of
        assert rule.low is None or rule.low <= value <= rule.high


OF_VERSION_0_2 = {"base": "miniature-sd15", "family": "sd15", "recipe": "studio", "steps": 150, "rank": 8}
OF_VERSION_0_2 |= {"start": "own", "loss": "mse", "loss_on": "epsilon", "preview_prompts": [], "keep_checkpoints": 2}


def test_a_config_of_an_older_version_opens_with_todays_defaults_for_the_rest():
    assert TrainConfig.from_dict(OF_VERSION_0_2) == TrainConfig()


def test_the_cost_counts_what_is_run():
    free = config(start="noise", rollout_steps=5, ddim_grid=25)
    assert row_forwards_per_sample(free) == 6 + 3
    assert row_forwards_per_sample(config(start="noise", rollout_steps=5, ddim_grid=25, rollout_guidance=-5.0)) == 15
    stored = config(start="trajectory", pool_size=10, ddim_grid=6, steps=10, batch_size=6)
    assert row_forwards_per_sample(stored) == 3 + 1
