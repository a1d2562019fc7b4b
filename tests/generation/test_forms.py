"""Every form of guidance through the row gate and the stock pipeline equals a loop written anew, with networks of their own."""

import json

import numpy as np
import pytest
import torch

from app.cli import main
from core.errors import StudioError
from core.families import get
from core.generation.comparison import Comparison
from core.generation.rendering import render, start_latents
from core.generation.watch import Watch
from core.method.guidance import BetaSchedule, GuidanceWeights
from core.offsets.offset import Offset
from tests.builders.offsets import random_offset, size_of

STEPS, SEED = 5, 7
FORMS = {
    "npo": {},
    "both branches": {"guidance": "both-branches"},
    "three terms": {"guidance": "three-terms", "quality": 1.5},
    "autoguidance": {"guidance": "autoguidance"},
    "halves": {"guidance": "cfg", "late_guidance": "autoguidance", "late_from": 0.5, "late_strength": 0.5},
    "interval": {"guidance": "three-terms", "interval_low": 0.3, "interval_high": 0.7},
    "rescale": {"cfg_rescale": 0.7},
    "apg": {"apg_parallel": 0.2, "apg_norm": 2.0, "apg_momentum": -0.5},
    "all at once": {
        "guidance": "three-terms",
        "late_guidance": "npo",
        "late_from": 0.6,
        "interval_low": 0.15,
        "cfg_rescale": 0.5,
        "apg_parallel": 0.0,
        "apg_momentum": 0.3,
    },
}


@pytest.fixture(scope="module", params=["sd15", "sdxl", "cogvideox"])
def parts(request):
    """A family, its tiny pipeline, and two offsets of it."""
    family = get(request.param)
    pipe = family.tiny()
    return family, pipe, random_offset(family, pipe, 1), random_offset(family, pipe, 2)


@torch.no_grad()
def written_anew(family, pipe, eta, delta, weights):
    """The final latents of the papers' formulas: a DDIM loop in which each prediction has a network with its own weights."""
    size = size_of(family, pipe)
    scheduler = family.make_scheduler("ddim", pipe.scheduler.config)
    scheduler.set_timesteps(STEPS)
    denoiser = family.denoiser(pipe)
    prompt = family.encode_prompt(pipe, ["ab"], size)
    empty = family.encode_prompt(pipe, [""], size, negative=True)
    x = start_latents((SEED,), family.latent_shape(pipe, size))
    momentum = None
    for t in scheduler.timesteps:

        def network(text, of_eta, of_delta, x=x, t=t):
            with Offset.combine([(eta, of_eta), (delta, of_delta)]).apply(denoiser):
                return family.predict(denoiser, x, t[None], text)

        level = float(t) / 1000
        late = level < weights.late_from
        form = weights.late_guidance if late and weights.late_guidance != "same" else weights.guidance
        factor = (weights.late_strength if late else 1) * (weights.interval_low <= level <= weights.interval_high)
        w, s = factor * weights.omega, factor * weights.quality
        a, b = weights.alpha, weights.beta
        if form == "both-branches":
            c, u = network(prompt, 1, -b), network(empty, 1, -b)
            total, guided = w, (w + 1) * c - w * u
        else:
            c = network(prompt, 1, 0)
            u = network(empty, a, b) if form == "npo" else network(empty, 1, 0)
            worse = network(prompt, a, b)
            total, guided = {
                "cfg": (w, (w + 1) * c - w * u),
                "npo": (w, (w + 1) * c - w * u),
                "autoguidance": (w, (w + 1) * c - w * worse),
                "three-terms": (w + s, (w + 1) * c - w * u + s * (c - worse)),
            }[form]
        if total and (weights.apg_parallel, weights.apg_norm, weights.apg_momentum) != (1, 0, 0):
            signal = scheduler.alphas_cumprod[t]
            root, noise = signal.sqrt(), (1 - signal).sqrt()

            def denoised(output, x=x, root=root, noise=noise):
                if scheduler.config.prediction_type == "v_prediction":
                    return root * x - noise * output
                return (x - noise * output) / root

            positive, difference = denoised(c), (denoised(guided) - denoised(c)) / total
            momentum = difference if momentum is None else difference + weights.apg_momentum * momentum
            difference = momentum
            if weights.apg_norm:
                difference = difference * min(1.0, weights.apg_norm / float(difference.norm()))
            parallel = (difference * positive).sum() / (positive * positive).sum() * positive
            clean = positive + total * (difference - parallel + weights.apg_parallel * parallel)
            if scheduler.config.prediction_type == "v_prediction":
                guided = (root * x - clean) / noise
            else:
                guided = (x - root * clean) / noise
        if total and weights.cfg_rescale:
            scaled = guided * c.std() / guided.std()
            guided = weights.cfg_rescale * scaled + (1 - weights.cfg_rescale) * guided
        x = scheduler.step(guided, t, x, return_dict=False)[0]
    return x


def ours(family, pipe, eta, delta, columns, seeds=(SEED,), **options):
    """The final latents of each column and seed, as the stock pipeline ends with them."""
    ends = []
    comparison = Comparison(prompt="ab", seeds=seeds, columns=columns, steps=STEPS, scheduler="ddim")
    decode = family.decode_latents

    def seen(pipe, latents):
        ends.append(latents.clone())
        return decode(pipe, latents)

    watched = type(family)(
        **{**{name: getattr(family, name) for name in family.__dataclass_fields__}, "decode_latents": seen}
    )
    render(pipe, watched, comparison, positive=eta, negative=delta, **options)
    return torch.cat(ends)


@pytest.mark.parametrize("name", sorted(FORMS))
def test_a_form_is_separate_networks_in_a_loop_of_ones_own(parts, name):
    family, pipe, eta, delta = parts
    weights = GuidanceWeights(omega=3.0, alpha=0.6, beta=0.8, **FORMS[name])
    expected = written_anew(family, pipe, eta, delta, weights)
    together = ours(family, pipe, eta, delta, (weights.plain(), weights))
    spread = float(expected.std())
    assert float((together[1] - expected[0]).abs().max()) < 2e-4 * max(1.0, spread)
    assert float((together[0] - expected[0]).abs().max()) > 1e-2 * spread, "it is not plain guidance"


def test_the_rows_announced_before_are_those_that_the_network_computes(parts):
    """Row-forwards counted at the denoiser are those told before."""
    family, pipe, eta, delta = parts
    counted = []

    for changes in FORMS.values():
        weights = GuidanceWeights(omega=3.0, alpha=0.6, beta=0.8, **changes)
        comparison = Comparison(prompt="ab", seeds=(1, 2), columns=(weights,), steps=STEPS, scheduler="ddim")
        counted.clear()
        denoiser = family.denoiser(pipe)
        last = denoiser.proj_out if hasattr(denoiser, "proj_out") else denoiser.conv_out
        hook = last.register_forward_hook(lambda module, args, output: counted.append(len(output)))
        try:
            render(pipe, family, comparison, positive=eta, negative=delta)
        finally:
            hook.remove()
        levels = family.make_scheduler("ddim", pipe.scheduler.config)
        levels.set_timesteps(STEPS)
        rows = [weights.rows(float(t) / 1000).forwards for t in levels.timesteps]
        assert counted == [2 * row for row in rows]
        assert abs(comparison.row_forwards - sum(counted)) <= 2 * 2 * (weights.most_rows - 1), (
            "an interval's end, a step at most"
        )


@pytest.fixture(scope="module")
def sd15():
    family = get("sd15")
    pipe = family.tiny()
    return family, pipe, random_offset(family, pipe, 1), random_offset(family, pipe, 2)


def test_columns_of_several_forms_do_not_touch_one_another_nor_how_rows_are_split(sd15):
    columns = tuple(GuidanceWeights(omega=3.0, alpha=0.6, beta=0.8, **changes) for changes in FORMS.values())
    together = ours(*sd15, columns, seeds=(1, 2))
    assert len(together) == 2 * len(columns)
    for number in (2, 4, 7):
        alone = ours(*sd15, columns[number : number + 1], seeds=(2,))
        torch.testing.assert_close(together[2 * number + 1], alone[0], atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(
        ours(*sd15, columns, seeds=(1, 2), max_rows=3).sum(), together.sum(), atol=0.5, rtol=1e-3
    )


def test_no_forward_has_more_rows_than_allowed_where_columns_can_be_parted(sd15):
    family, pipe, eta, delta = sd15
    seen = []
    hook = pipe.unet.conv_out.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    columns = (GuidanceWeights(omega=3), GuidanceWeights(omega=3, beta=1, guidance="three-terms"))
    comparison = Comparison(prompt="ab", seeds=(1, 2), columns=columns, steps=2)
    try:
        render(pipe, family, comparison, negative=delta, max_rows=4)
    finally:
        hook.remove()
    assert max(seen) <= 4 and sum(seen) == comparison.row_forwards
    assert comparison.rows == 10 and comparison.least_rows == 3


@pytest.mark.parametrize("scheduler", ["dpmsolver++", "ddim", "euler", "unipc"])
@pytest.mark.parametrize("name", ["three terms", "apg", "interval"])
def test_forms_go_with_every_sampler_and_the_pipeline_is_itself_afterwards(sd15, name, scheduler):
    family, pipe, eta, delta = sd15
    before = pipe("ab", num_inference_steps=2, output_type="np", generator=torch.Generator().manual_seed(0)).images
    columns = (GuidanceWeights(omega=3.0, beta=0.8, **FORMS[name]),)
    comparison = Comparison(prompt="ab", seeds=(1,), columns=columns, steps=4, scheduler=scheduler)
    steps = []
    image = render(pipe, family, comparison, positive=eta, negative=delta, watch=Watch(step=steps.append))[0]
    assert len(steps) == 4 and np.asarray(image.image).std() > 1
    assert not pipe.unet._forward_hooks and not pipe.unet._forward_pre_hooks
    after = pipe("ab", num_inference_steps=2, output_type="np", generator=torch.Generator().manual_seed(0)).images
    assert np.array_equal(before, after)


def test_guidance_that_grows_along_the_way_is_refused_with_a_sum_of_our_own():
    family = get("cogvideox")
    pipe = family.tiny()
    columns = (GuidanceWeights(omega=3.0, guidance="three-terms"),)
    with pytest.raises(StudioError, match="two plain rows a step alone"):
        render(pipe, family, Comparison(prompt="ab", columns=columns, steps=2, dynamic_guidance=True))


def test_beta_by_noise_level_goes_with_every_form(sd15):
    schedule = BetaSchedule(split=0.5, late=0.0)
    weights = GuidanceWeights(omega=3.0, beta=0.8, guidance="three-terms", beta_schedule=schedule)
    assert weights.rows(0.6).away[1][1].delta == 0.8 and weights.rows(0.4).away[1][1].delta == 0.0
    assert len(ours(*sd15, (weights,))) == 1


def test_the_command_line_prints_the_rows_of_a_form_with_both_offsets_before_it_starts(tmp_path, capsys):
    sets = ["negative=sd15-mini-negative", "positive=sd15-mini-positive", "steps=10", "images=2"]
    for form, rows in (("npo", 2), ("three-terms", 3)):
        command = ["compare", "x", "--dry-run", "--json", "--workspace", str(tmp_path), "--set", *sets]
        assert main([*command, f"guidance={form}"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["row_forwards"] == 10 * 2 * (2 + rows) and facts["rows_of_largest_step"] == 2 * (2 + rows)
        assert (facts["guidance"], facts["positive"]) == (form, "sd15-mini-positive")
    assert main([*command, "guidance=best"]) == 1 and "guidance must be one of npo" in capsys.readouterr().err
