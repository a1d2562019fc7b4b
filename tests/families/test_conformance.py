"""What every family promises, on a tiny real network of its own."""

import pytest
import torch

from core.errors import StudioError
from core.families import CARDS, NAMES, detect, get
from core.families.base import Size, join
from core.generation.rendering import Comparison, render
from core.generation.watch import Watch
from core.method.guidance import GuidanceWeights
from core.method.schedule import NoiseSchedule, Prediction
from core.method.tdft import Loss, renoise
from core.offsets.adapter import attach
from core.offsets.files import load_lora
from core.offsets.row_gate import row_gate
from core.offsets.writing import save_offset
from tests.builders.offsets import noise, random_offset, size_of


@pytest.fixture(scope="module", params=NAMES)
def family(request):
    return get(request.param)


@pytest.fixture
def pipe(family):
    return family.tiny()


def test_its_card_matches_its_libraries(family):
    card = CARDS[family.name]
    assert (card.title, card.pipeline) == (family.title, family.pipeline.__name__)
    assert card.samplers == tuple(family.samplers)
    assert card.video == (family.defaults(family.tiny()).fps > 0)


def test_what_is_reported_as_left_out_is_what_the_text_encoders_do_not_read(family, pipe):
    def same(first, second):
        first, second = (family.encode_prompt(pipe, [text]) for text in (first, second))
        return all(torch.equal(first[name], second[name]) for name in first)

    assert family.left_out(pipe, "") == family.left_out(pipe, "a star") == ""
    letters = next(n for n in range(1, 400) if family.left_out(pipe, "a " * n))  # the first that is not read whole
    whole, longer = "a " * (letters - 1), "a " * letters
    assert family.left_out(pipe, longer) == "a" and family.left_out(pipe, longer + "b") == "a b"
    assert same(longer, longer + "b") and not same(whole, "b " + whole[2:])


@torch.no_grad()
def test_a_folder_loads_with_the_same_prediction(family, pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "model")
    back = family.load(tmp_path / "model")
    assert detect(tmp_path / "model") == family.name
    x, t = noise(family, pipe, 2), torch.tensor([3, 800])
    one, other = (family.predict(family.denoiser(p), x, t, family.encode_prompt(p, ["a", "b"])) for p in (pipe, back))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_folder_of_another_kind_and_a_damaged_one_are_refused_without_their_path(family, pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "model")
    part = tmp_path / "model" / family.parts[0]
    next(part.glob("*.safetensors")).write_bytes(b"0" * 100)
    with pytest.raises(StudioError, match="could not be loaded") as refused:
        family.load(tmp_path / "model")
    assert str(tmp_path) not in str(refused.value)


@torch.no_grad()
def test_conditioning_is_the_stock_pipelines_own(family, pipe):
    size = size_of(family, pipe)
    cond = family.encode_prompt(pipe, ["ab"], size)
    arguments = family.pipeline_arguments(cond, family.encode_prompt(pipe, [""], size, negative=True), size)
    frames = {"num_frames": size.frames} if size.frames > 1 else {}
    settings = {"latents": noise(family, pipe, 1), "num_inference_steps": 2, "guidance_scale": 4.0}
    extra = {"height": size.height, "width": size.width, **frames, "output_type": "latent"}
    for name in ("max_sequence_length",):
        if name in arguments:
            extra[name] = arguments[name]
    assert torch.equal(pipe("ab", **settings, **extra)[0], pipe(**arguments, **settings, output_type="latent")[0])


@torch.no_grad()
def test_a_batch_of_conditionings_is_its_rows(family, pipe):
    size = size_of(family, pipe)
    first, second = (family.encode_prompt(pipe, [text], size) for text in ("ab", "c d"))
    both = family.encode_prompt(pipe, ["ab", "c d"], size)
    for name, tensor in join(first, second).items():
        torch.testing.assert_close(tensor, both[name])


@torch.no_grad()
def test_x0_is_the_schedulers_own(family, pipe):
    schedule = NoiseSchedule.from_scheduler(pipe.scheduler)
    x, output = noise(family, pipe, 1), noise(family, pipe, 1)
    if schedule.prediction is Prediction.FLOW:  # its scheduler states no estimate: one step to no noise is one
        flow = family.make_scheduler(next(iter(family.samplers)), pipe.scheduler.config)
        flow.set_timesteps(sigmas=[0.5])
        expected, t = flow.step(output, flow.timesteps[0], x).prev_sample, flow.timesteps[0].round().long()
        torch.testing.assert_close(schedule.x0(output, x, t.reshape(1)), expected, rtol=1e-3, atol=1e-3)
        return
    ddim = family.make_scheduler("ddim", pipe.scheduler.config)
    ddim.set_timesteps(10)
    for t in ddim.timesteps[1:5]:
        expected = ddim.step(output, t, x).pred_original_sample
        torch.testing.assert_close(schedule.x0(output, x, t.reshape(1)), expected, rtol=1e-4, atol=1e-4)


def test_one_step_of_tdft_lowers_the_loss_on_its_batch(family, pipe):
    denoiser, size = family.denoiser(pipe), size_of(family, pipe)
    schedule = NoiseSchedule.from_scheduler(pipe.scheduler)
    cond = family.encode_prompt(pipe, ["ab", "c"], size)
    x_t, t, s = noise(family, pipe, 2), torch.tensor([300, 500]), torch.tensor([700, 800])
    with torch.no_grad():
        target = schedule.x0(family.predict(denoiser, x_t, t, cond), x_t, t)
        x_s = renoise(x_t, t, s, torch.randn_like(x_t), schedule)
    parameters = attach(denoiser, family.lora_targets, rank=4, lora_alpha=4, seed=0)
    optimizer = torch.optim.AdamW(parameters, lr=1e-2)

    def loss():
        output = family.predict(denoiser, x_s, s, cond)
        return Loss("mse", "epsilon")(output, target, x_s, s, schedule)

    before = loss()
    for _ in range(3):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert float(loss()) < float(before)


def test_a_lora_is_saved_and_read_bit_by_bit(family, pipe, tmp_path):
    offset = random_offset(family, pipe)
    save_offset(tmp_path / "o.safetensors", offset, family=family.name, provenance={"steps": "1"})
    written, read = offset.low_rank, load_lora(tmp_path / "o.safetensors", family=family.name).low_rank
    assert read.keys() == written.keys()
    assert all(torch.equal(a, b) for n in written for a, b in zip(written[n], read[n], strict=True))


@torch.no_grad()
def test_the_row_gate_is_two_networks(family, pipe):
    denoiser, size = family.denoiser(pipe), size_of(family, pipe)
    positive, negative = random_offset(family, pipe, 1), random_offset(family, pipe, 2)
    weights = GuidanceWeights(omega=2.0, alpha=0.6, beta=0.9)
    x, t = noise(family, pipe, 2), torch.tensor([500, 500])
    cond = family.encode_prompt(pipe, ["ab", "c"], size)
    empty = family.encode_prompt(pipe, ["", ""], size, negative=True)
    with row_gate(denoiser, positive, negative) as gate:
        gate.set_columns([weights], 2)
        low, high = family.predict(denoiser, torch.cat([x, x]), torch.cat([t, t]), join(empty, cond)).chunk(2)
    with positive.apply(denoiser):
        exact_high = family.predict(denoiser, x, t, cond)
    with positive.apply(denoiser, 0.6), negative.apply(denoiser, 0.9):
        exact_low = family.predict(denoiser, x, t, empty)
    assert float((high - exact_high).abs().max()) <= 1e-5
    assert float((low - exact_low).abs().max()) <= 1e-5
    assert float((low - high).abs().max()) > 1e-3


@torch.no_grad()
def test_plain_guidance_with_an_offset_loaded_is_the_stock_pipeline_bit_for_bit(family, pipe):
    size = size_of(family, pipe)
    cond, empty = (family.encode_prompt(pipe, [text], size, negative=not text) for text in ("ab", ""))
    settings = {**family.pipeline_arguments(cond, empty, size), "num_inference_steps": 2, "guidance_scale": 3.0}
    settings |= {"latents": noise(family, pipe, 1), "output_type": "latent"}
    plain = pipe(**settings)[0]
    with row_gate(family.denoiser(pipe), None, random_offset(family, pipe)) as gate:
        gate.set_columns([GuidanceWeights(omega=2.0, alpha=1.0, beta=0.0)], 1)
        assert torch.equal(pipe(**settings)[0], plain)
        gate.set_columns([GuidanceWeights(omega=2.0, alpha=1.0, beta=1.0)], 1)
        assert not torch.equal(pipe(**settings)[0], plain)
    assert torch.equal(pipe(**settings)[0], plain)


def test_a_comparison_renders_with_every_sampler(family, pipe):
    standard = family.defaults(pipe)
    columns = (GuidanceWeights(omega=2.0, beta=0.0), GuidanceWeights(omega=2.0, beta=1.0))
    offset = random_offset(family, pipe)
    for name in family.samplers:
        comparison = Comparison(prompt="ab", seeds=(1, 2), columns=columns, steps=3, scheduler=name)
        steps = []
        images = render(pipe, family, comparison, negative=offset, watch=Watch(step=steps.append))
        assert [(i.column, i.seed) for i in images] == [(0, 1), (0, 2), (1, 1), (1, 2)]
        assert all(len(i.frames) == standard.size.frames for i in images)
        assert all(i.image.size == (standard.size.width, standard.size.height) for i in images)
        assert len(steps) == 3 and len(steps[0].images) == 4
        again = render(pipe, family, comparison, negative=offset)
        assert all(a.image.tobytes() == b.image.tobytes() for a, b in zip(images, again, strict=True))


def test_sizes_that_cannot_be_are_refused(family, pipe):
    standard = size_of(family, pipe)
    with pytest.raises(StudioError, match="not a multiple of"):
        family.latent_shape(pipe, Size(standard.height + 1, standard.width, standard.frames))
    with pytest.raises(StudioError, match="frames"):
        family.latent_shape(pipe, Size(standard.height, standard.width, standard.frames + 1))


def test_an_unknown_sampler_is_refused_by_name(family, pipe):
    with pytest.raises(StudioError, match="Choose one of"):
        family.make_scheduler("lms", pipe.scheduler.config)


def test_no_family_of_an_unknown_name():
    with pytest.raises(StudioError, match="This studio supports sd15"):
        get("flux")
