"""The recipes `official` and `official-sdxl` against the published training scripts, written anew from their formulas.

Nothing of core/method is used on the expected side: signal and noise levels come from the betas, the grid, the rollout, the
way up to s and the loss are written out as the scripts state them, with the ratio of noise to signal.
"""

import dataclasses

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from core.errors import StudioError
from core.events import Notice, StepDone
from core.families import get
from core.families.base import Size
from core.training.config import recipe
from core.training.draws import in_turn
from core.training.loop import train
from core.training.material import gather
from core.training.narration import family_note
from core.training.pictures import pixels_of
from core.training.self_npo import SelfNpo
from core.training.start_points import encoded_pictures
from core.training.trainer import learning_rate
from tests.training.variants import captioned_pictures

W = {"official": -1.0, "official-sdxl": -5.0}
FAMILIES = {"official": "sd15", "official-sdxl": "sdxl"}


def levels():
    """Signal and noise level of the 1000 timesteps of SD1.5 and SDXL."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2
    power = np.cumprod(1 - betas)
    return np.sqrt(power), np.sqrt(1 - power)


def rows_of(values, t):
    return torch.tensor(values[np.asarray(t)], dtype=torch.float32)[:, None, None, None]


@torch.no_grad()
def published_batch(network, cond, uncond, w, latents, noise, index, uniform_s, renoise):
    """(x_s, s, target) of the published loop, from the numbers that it draws.

    Args:
        network: (x, t, conditioning) -> epsilon.
        index: (batch,) place on the ascending grid of 25: level 40 (index + 1) - 1.
    """
    alpha, sigma = levels()
    ascending = np.arange(1, 26) * 40 - 1
    before = np.concatenate([[0], ascending[:-1]])  # one step further down; the last goes to t = 0
    index = np.asarray(index).copy()
    t = ascending[index]
    x = rows_of(alpha, t) * latents + rows_of(sigma, t) * noise
    moving = np.ones(len(index), dtype=bool)
    for number in range(6):
        at = torch.tensor(t)
        eps_cond, eps_uncond = network(x, at, cond), network(x, at, uncond)
        x0_cond, x0_uncond = ((x - rows_of(sigma, t) * eps) / rows_of(alpha, t) for eps in (eps_cond, eps_uncond))
        x0 = x0_cond + w * (x0_cond - x0_uncond)
        if number == 5:
            break
        eps = eps_cond + w * (eps_cond - eps_uncond)
        down = before[index]
        stepped = rows_of(alpha, down) * x0 + rows_of(sigma, down) * eps
        x = torch.where(torch.tensor(moving)[:, None, None, None], stepped, x)
        index -= 1
        moving &= index >= 0
        index = np.maximum(index, 0)
        t = np.maximum(t - 40, 0)
    # uniform over t + 1 … 999
    s = t + 1 + np.floor(np.asarray(uniform_s, dtype=np.float32) * (999 - t).astype(np.float32)).astype(np.int64)
    ratio_t, ratio_s = sigma[t] / alpha[t], sigma[s] / alpha[s]
    spread = torch.tensor(np.sqrt(ratio_s**2 - ratio_t**2), dtype=torch.float32)[:, None, None, None]
    x_s = (x / rows_of(alpha, t) + spread * renoise) * rows_of(alpha, s)
    return x_s, torch.tensor(s), x0


def published_loss(network, x_s, s, target, cond, c=0.001):
    alpha, sigma = levels()
    x0 = (x_s - rows_of(sigma, s) * network(x_s, s, cond)) / rows_of(alpha, s)
    return torch.mean(torch.sqrt((x0 - target) ** 2 + c**2) - c)


def objective_of(name, folder, **changes):
    family = get(FAMILIES[name])
    settings = recipe(name, images_folder=str(captioned_pictures(folder / "pictures")), precision="no", **changes)
    pipe = family.tiny()
    material = gather(settings, folder / "run", pipe, family, [], Accelerator(cpu=True))
    points = encoded_pictures(pipe, settings, material)
    return family, pipe, material, SelfNpo(settings, material.at_crops(points.crops), points)


@pytest.mark.parametrize("name", W)
@pytest.mark.parametrize("step", [0, 3])
def test_a_batch_and_its_loss_are_those_of_the_published_script(tmp_path, name, step):
    (tmp_path / "run").mkdir()
    family, pipe, material, objective = objective_of(name, tmp_path)
    network = lambda x, t, cond: family.predict(pipe.unet, x, t, cond)  # noqa: E731
    batch = objective.batch(network, step, 0, torch.device("cpu"))
    drawn = objective.draws(step, 0)

    cond = {key: tensor[drawn.chosen] for key, tensor in objective.material.cond.items()}
    texts = [material.texts[row] for row in drawn.chosen]
    encoded = family.encode_prompt(family.tiny(), texts)  # a fresh one: SDXL's text encoders are freed in training
    torch.testing.assert_close(cond["encoder_hidden_states"], encoded["encoder_hidden_states"])
    uncond = {key: torch.cat([tensor] * len(texts)) for key, tensor in material.empty.items()}
    if name == "official-sdxl":
        # the empty prompt is zeros, and is told the same place of the picture as the prompt
        assert not uncond["encoder_hidden_states"].any() and not uncond["text_embeds"].any()
        uncond["time_ids"] = cond["time_ids"]
        crops = objective.points.crops[drawn.chosen].float()
        assert torch.equal(
            cond["time_ids"],
            torch.cat([torch.full((len(texts), 2), 32.0), crops, torch.full((len(texts), 2), 32.0)], 1),
        )
    latents = objective.points.x_0[drawn.chosen] + objective.points.spread[drawn.chosen] * drawn.latent
    index = 24 - (drawn.first * 25).long()
    x_s, s, target = published_batch(
        network, cond, uncond, W[name], latents, drawn.noise, index, drawn.s, drawn.renoise
    )
    assert torch.equal(batch.s, s) and (int(s.max()) > 900)
    torch.testing.assert_close(batch.x_s, x_s, atol=1e-5, rtol=1e-5)
    # estimates from the noisiest levels are many times the size of latents: float32 rounding goes with the largest
    torch.testing.assert_close(batch.x0_hat, target, atol=1e-5 * float(target.abs().max()), rtol=1e-5)
    assert all(torch.equal(batch.cond[key], cond[key]) for key in cond), "no caption is dropped"
    torch.testing.assert_close(
        objective.loss(network, batch), published_loss(network, x_s, s, target, cond), atol=1e-5, rtol=1e-5
    )


def test_some_rollouts_of_the_official_recipe_reach_zero(tmp_path):
    (tmp_path / "run").mkdir()
    _, _, _, objective = objective_of("official", tmp_path)
    seen = []
    objective = dataclasses.replace(objective)
    for step in range(4):
        objective.batch(lambda x, t, cond: seen.append(t) or torch.zeros_like(x), step, 0, torch.device("cpu"))
    times = torch.cat(seen)
    assert int(times.max()) == 999 and int(times.min()) == 0 and set((times[times > 0] % 40).tolist()) == {39}


def test_the_numbers_of_the_published_scripts():
    for name, rate, decay, batch in (("official", 1e-6, 1e-3, 20), ("official-sdxl", 1e-7, 0.0, 10)):
        made = recipe(name, images_folder="x")
        assert (made.learning_rate, made.weight_decay, made.batch_size, made.steps) == (rate, decay, batch, 1000)
        assert (made.weights, made.reference, made.ema_decay, made.huber_c) == ("full", "ema", 0.999, 0.001)
        assert (made.loss, made.loss_on, made.caption_dropout, made.clip_norm) == ("pseudo_huber", "x0", 0.0, 1.0)
        assert (made.rollout_guidance, made.rollout_steps, made.ddim_grid) == (W[name], 5, 25)
        # its scheduler is constant: the sum of the rates is steps times the rate
        assert sum(learning_rate(made, step) for step in range(1000)) == pytest.approx(1000 * rate)


def test_every_picture_is_seen_once_before_any_comes_again(tmp_path):
    (tmp_path / "run").mkdir()
    _, _, material, objective = objective_of("official", tmp_path, batch_size=3)
    seen = torch.cat([objective.draws(step, 0).chosen for step in range(10)]).reshape(6, material.count)
    assert all(sorted(round_.tolist()) == list(range(material.count)) for round_ in seen)
    assert len({tuple(round_.tolist()) for round_ in seen}) > 1, "in an order of its own each time"
    pair = dataclasses.replace(objective, processes=2)
    both = torch.cat([pair.draws(step, rank).chosen for step in range(5) for rank in (0, 1)])
    assert torch.equal(both, seen.flatten())
    assert in_turn(0, 0, 4, 1).tolist() == [0, 0, 0, 0]


def test_random_cuts_lie_inside_and_the_middle_is_the_middle():
    image = Image.linear_gradient("L").resize((100, 60)).convert("RGB")
    size = Size(32, 32)
    crops = [pixels_of(image, size, torch.Generator().manual_seed(seed))[1] for seed in range(60)]
    assert {crop.top for crop in crops} == {0} and min(c.left for c in crops) == 0 and max(c.left for c in crops) == 21
    pixels, middle = pixels_of(image, size)
    assert (middle.top, middle.left) == (0, 10) and pixels.shape == (1, 3, 32, 32)
    assert float(pixels.min()) >= -1 and float(pixels.max()) <= 1


def test_the_recipe_trains_and_says_so_where_it_is_used_on_another_family(tmp_path):
    pictures = str(captioned_pictures(tmp_path / "pictures"))
    settings = recipe("official", images_folder=pictures, precision="no", steps=2, batch_size=2, preview_every=0)
    for name, noted in (("sd15", False), ("sdxl", True)):
        family = get(name)
        events = list(train(settings, tmp_path / name, family.tiny(), family, [], cpu=True))
        assert len([e for e in events if isinstance(e, StepDone)]) == 2
        notes = [e.message for e in events if isinstance(e, Notice) and "published script" in e.message]
        assert bool(notes) is noted
    assert notes == ["The recipe official is the published script for sd15; for sdxl the recipe official-sdxl is."]
    assert "no script was published" in family_note(settings, "cogvideox")


def test_all_pictures_need_a_folder():
    with pytest.raises(StudioError, match="pool_size 0 needs start = images"):
        recipe("studio", pool_size=0)
