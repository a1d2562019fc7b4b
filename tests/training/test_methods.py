"""Fine-tuning, words, distillation and pairs: what they learn from, against closed forms; and that a cut run resumes."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from core.errors import StudioError
from core.events import RunFinished
from core.method.dose import LEVELS
from core.offsets.files import read_offset
from core.training.config import recipe
from core.training.cost import row_forwards_of_own_samples, row_forwards_of_step, row_forwards_per_sample
from core.training.dose import measure_dose
from core.training.finetuning import Distillation, FineTuning
from core.training.loop import train
from core.training.material import flawed_texts, gather
from core.training.methods import METHODS
from core.training.pairs import read_pairs
from core.training.preference import FromPairs
from core.training.ranking import ranked
from core.training.recipes import RECIPES
from core.training.settings import MethodSettings
from core.training.start_points import StartPoints, encoded_pairs
from core.training.trainer import Trainer
from tests.training.variants import (
    FAMILY,
    METHOD_VARIANTS,
    PROMPTS,
    config,
    folder_of_pairs,
    losses,
    run,
    settings_of,
)

CPU = torch.device("cpu")


def material_of(folder, settings, prompts=PROMPTS):
    folder.mkdir(parents=True, exist_ok=True)
    return gather(settings, folder, FAMILY.tiny(), FAMILY, prompts, Accelerator(cpu=True))


RESUMED = ("fine-tuning, sampled latents, full", "reversed DPO")
"""Methods that the default suite cuts and resumes; the long lane takes all."""


@pytest.mark.parametrize(
    "variant", [pytest.param(v, marks=() if v in RESUMED else pytest.mark.slow) for v in METHOD_VARIANTS]
)
@pytest.mark.long
def test_every_method_resumes_bit_for_bit(tmp_path, variant):
    settings = settings_of(variant, tmp_path)
    whole = run(tmp_path / "whole", settings)
    assert isinstance(whole[-1], RunFinished) and len(losses(whole)) == 6
    last = 1 + list(METHOD_VARIANTS).index(variant) % 5
    events = train(settings, tmp_path / "cut", FAMILY.tiny(), FAMILY, PROMPTS, cpu=True)
    cut = list(itertools.takewhile(lambda e: e.step <= last, events))
    assert losses(cut)[: last // 2 * 2] + losses(run(tmp_path / "cut", settings)) == losses(whole)
    for name in ("offset.safetensors", "pool.safetensors") if (tmp_path / "whole/pool.safetensors").exists() else ():
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_fine_tuning_on_gaussian_data_has_the_closed_forms_loss(tmp_path):
    """Data N(m, v): the best denoiser's squared error on epsilon is alpha^2 v / (alpha^2 v + sigma^2) at each level."""
    settings = config(method="fine-tuning", batch_size=4000, caption_dropout=0.0, s_min=0.5, s_max=0.501)
    material = material_of(tmp_path, settings)
    mean, variance = 0.7, 0.25
    x_0 = mean + variance**0.5 * torch.randn(20_000, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    material = type(material)(**{**vars(material), "shape": (1, 1, 1), "texts": ["p"] * 20_000})
    material.cond["encoder_hidden_states"] = torch.zeros(20_000, 1, 1)
    material.empty["encoder_hidden_states"] = torch.zeros(1, 1, 1)
    objective, schedule = FineTuning(settings, material, StartPoints(x_0)), material.schedule

    def best(x, s, cond):
        alpha, sigma = schedule.at(s, x)
        shrink = alpha * variance / (alpha**2 * variance + sigma**2)
        return (x - alpha * (mean + shrink * (x - alpha * mean))) / sigma

    alpha, sigma = (part[500].double() for part in (schedule.alpha_t, schedule.sigma_t))
    expected = float(alpha**2 * variance / (alpha**2 * variance + sigma**2))
    batch = objective.batch(None, 0, 0, CPU)
    assert batch.s.unique().tolist() == [500]
    # four standard errors of a mean of 4000 squares
    assert float(objective.loss(best, batch)) == pytest.approx(expected, rel=4 * (2 / 4000) ** 0.5)
    assert float(objective.loss(lambda *args: best(*args) + 0.3, batch)) == pytest.approx(expected + 0.09, rel=0.1)


def test_own_samples_with_a_flaw_are_drawn_with_its_words_and_learned_without(tmp_path):
    settings = config(method="fine-tuning", flaws="blurry | noisy", caption_dropout=0.0, steps=1, checkpoint_every=1)
    texts = ["a", "b", "c", ""]
    assert flawed_texts(settings, texts) == ["a, blurry", "b, noisy", "c, blurry", "noisy"]
    material = material_of(tmp_path, settings)
    expected = FAMILY.encode_prompt(FAMILY.tiny(), flawed_texts(settings, material.texts))["encoder_hidden_states"]
    torch.testing.assert_close(material.flawed["encoder_hidden_states"], expected)
    encoded = []
    pipe = FAMILY.tiny()
    forward = pipe.unet.forward
    pipe.unet.forward = lambda x, t, **k: encoded.append(k["encoder_hidden_states"].clone()) or forward(x, t, **k)
    list(train(settings, tmp_path / "run", pipe, FAMILY, PROMPTS, cpu=True))
    rows = list(material.flawed["encoder_hidden_states"])
    drawing, learning = encoded[: settings.ddim_grid], encoded[2 * settings.ddim_grid]
    assert all(torch.allclose(one, other) for batch in drawing for one, other in zip(batch, rows, strict=False))
    known = material.cond["encoder_hidden_states"]
    assert all(any(torch.allclose(row, one) for one in known) for row in learning)
    assert not any(torch.allclose(row, one) for row in learning for one in rows)


def test_distillation_is_zero_exactly_where_the_student_says_what_the_base_says_with_the_negative_prompt(tmp_path):
    settings = config(method="distillation", flaws="blurry", batch_size=5)
    material = material_of(tmp_path, settings)
    points = StartPoints(torch.randn(4, *material.shape, generator=torch.Generator().manual_seed(1)))
    objective = Distillation(settings, material, points)
    unet = FAMILY.tiny().unet
    predict = lambda x, s, cond: FAMILY.predict(unet, x, s, cond)  # noqa: E731
    with torch.no_grad():
        batch = objective.batch(predict, 2, 0, CPU)
        flaw = FAMILY.encode_prompt(FAMILY.tiny(), ["blurry"] * 5)
        empty = FAMILY.encode_prompt(FAMILY.tiny(), [""] * 5)
        torch.testing.assert_close(batch.cond["encoder_hidden_states"], empty["encoder_hidden_states"])
        same = objective.loss(lambda x, s, cond: predict(x, s, flaw), batch)
        untrained = objective.loss(predict, batch)
        error = (predict(batch.x_s, batch.s, empty) - predict(batch.x_s, batch.s, flaw)).square().mean()
    assert float(same) < 1e-9 and float(untrained) > 100 * float(same)
    torch.testing.assert_close(untrained, error, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("direction", ["negative", "positive"])
def test_pairs_learn_the_side_that_is_asked_for(tmp_path, direction):
    settings = config(method="pairs", start="pairs", pairs=str(folder_of_pairs(tmp_path / "p")), direction=direction)
    pipe = FAMILY.tiny()
    material = material_of(tmp_path / "run", settings, [])
    points = encoded_pairs(pipe, settings, material)
    objective = FromPairs(settings, material, points)
    predict = lambda x, s, cond: FAMILY.predict(pipe.unet, x, s, cond)  # noqa: E731
    with torch.no_grad():
        batch = objective.batch(predict, 0, 0, CPU)
        learn, leave = batch.x_0.chunk(2)
        sides = (points.rejected, points.x_0) if direction == "negative" else (points.x_0, points.rejected)
        for rows, side in ((learn, sides[0]), (leave, sides[1])):
            assert all(any(torch.equal(row, one) for one in side) for row in rows)
        assert torch.equal(*batch.s.chunk(2)), "one level for both pictures"
        noise = objective.material.schedule.noise_between(batch.x_0, batch.x_s, batch.s)
        torch.testing.assert_close(*noise.chunk(2), atol=1e-3, rtol=1e-3)
        # the untrained student is the reference: log 2
        assert float(objective.loss(predict, batch)) == pytest.approx(0.693147, abs=1e-4)
        target = noise.chunk(2)[0]

        def better_at_the_first(x, s, cond):
            output = predict(x, s, cond)
            first, second = output.chunk(2)
            return torch.cat([first + 0.1 * (target - first), second])

        assert float(objective.loss(better_at_the_first, batch)) < 0.6


@pytest.mark.long
def test_learning_from_pairs_lowers_its_loss_on_a_fixed_batch(tmp_path):
    pairs = str(folder_of_pairs(tmp_path / "p"))
    settings = config(method="pairs", start="pairs", pairs=pairs, learning_rate=1e-3, warmup_steps=0, beta_dpo=100.0)
    pipe, accelerator = FAMILY.tiny(), Accelerator(cpu=True)
    material = gather(settings, tmp_path, pipe, FAMILY, [], accelerator)
    objective = FromPairs(settings, material, encoded_pairs(pipe, settings, material))
    trainer = Trainer(settings, FAMILY, pipe.unet, accelerator)
    fixed = SimpleNamespace(
        batch=lambda reference, step, *where: objective.batch(reference, 0, *where), loss=objective.loss
    )
    values = [trainer.step(fixed).loss for _ in range(12)]
    assert values[0] == pytest.approx(0.693147, abs=1e-4) and values[-1] < 0.5 and min(values) == values[-1]


@pytest.mark.long
def test_an_offset_says_its_method_and_its_dose(tmp_path):
    run(tmp_path / "run", settings_of("from words", tmp_path))
    facts = read_offset(tmp_path / "run" / "offset.safetensors").provenance
    assert facts["method"] == "fine-tuning" and facts["direction"] == "negative" and float(facts["dose"]) > 0
    assert list(json.loads(facts["dose_by_level"])) == [f"{level:g}" for level in LEVELS]
    assert "dose" not in read_offset(tmp_path / "run" / "offsets" / "step-6.safetensors").provenance
    pair_facts = settings_of("reversed DPO", tmp_path)
    run(tmp_path / "pairs-run", pair_facts)
    provenance = read_offset(tmp_path / "pairs-run" / "offset.safetensors").provenance
    assert str(tmp_path) not in json.dumps(dict(provenance))


def test_the_dose_of_known_predictions_is_exact(tmp_path):
    settings = config()
    material = material_of(tmp_path, settings)
    x_0 = torch.randn(4, *material.shape)
    prompted = lambda cond: cond["encoder_hidden_states"][:, :, 0].sum(1)[:, None, None, None]  # noqa: E731
    base = lambda x, s, cond: 0.5 * x + prompted(cond)  # noqa: E731
    push = lambda x, s, cond: base(x, s, cond) + 0.25 * (prompted(cond) - prompted(material.cond))  # noqa: E731
    dose = measure_dose(push, base, material, x_0, seed=0)
    # the offset moves the empty prompt's prediction by a quarter of what the prompt does, the other way
    assert dose.ratios == pytest.approx([0.25] * len(LEVELS), rel=1e-4) and dose.mean == pytest.approx(0.25, rel=1e-4)
    none = measure_dose(base, base, material, x_0, seed=0)
    assert none.ratios == (0.0,) * len(LEVELS)


@pytest.mark.long
def test_the_cost_of_each_method_counts_its_forwards(tmp_path):
    for variant, rows in {"fine-tuning on pictures": 1, "distillation": 2, "reversed DPO": 4}.items():
        settings = settings_of(variant, tmp_path)
        pipe, seen = FAMILY.tiny(), []
        forward = pipe.unet.forward
        pipe.unet.forward = lambda x, *a, f=forward, seen=seen, **k: seen.append(len(x)) or f(x, *a, **k)
        list(train(settings, tmp_path / variant.replace(" ", "-"), pipe, FAMILY, PROMPTS, cpu=True))
        own = settings.pool_size * settings.ddim_grid if settings.start == "own" else 0
        measured = 120 // 8 * min(8, 5 if settings.start == "images" else 4)  # of the dose
        assert sum(seen) == own + 6 * settings.batch_size * rows + measured
        # a backward counts as two more of each row of the student
        student = 2 if variant == "reversed DPO" else 1
        assert row_forwards_of_step(settings) == rows + 2 * student


RANKING = {"method": "ranking", "scorer": "brightness", "round_steps": 3, "candidates": 3, "beta_dpo": 50.0}


def brightness(pictures, prompts):
    assert len(pictures) == len(prompts)
    return torch.tensor([float(np.asarray(picture).mean()) for picture in pictures])


def test_the_best_and_the_worst_of_each_prompt_are_paired():
    samples = torch.arange(9.0).reshape(9, 1)
    pairs = ranked(samples, torch.tensor([0.1, 0.9, 0.5, 2.0, 2.0, 2.0, 0.3, 0.2, 0.1]), 3)
    # the second prompt's samples score alike: another takes its place
    assert pairs.x_0.flatten().tolist()[0::2] == [1.0, 6.0] and pairs.rejected.flatten().tolist()[0::2] == [0.0, 8.0]
    assert pairs.rows.tolist() == [0, 2, 2] and pairs.x_0[1] == 6.0


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [([1.0, float("nan"), 2.0], "NaN or infinity"), ([1.0, float("inf"), 2.0], "NaN"), ([1.0] * 3, "the same score")],
)
def test_scores_that_rank_nothing_are_refused(scores, sentence):
    with pytest.raises(StudioError, match=sentence):
        ranked(torch.zeros(3, 1), torch.tensor(scores), 3)


@pytest.mark.long
def test_a_scorer_that_says_nothing_stops_the_run_with_a_sentence(tmp_path):
    calls = []

    def score(pictures, prompts):
        calls.append(1)
        # good in the first round, none in the second
        return brightness(pictures, prompts) if len(calls) <= 4 else torch.ones(len(pictures))

    with pytest.raises(StudioError, match="the same score"):
        run(tmp_path, config(**RANKING), score=score)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-0000002"], "nothing lost"


@pytest.mark.parametrize("last", [pytest.param(1, marks=pytest.mark.slow), 4])
@pytest.mark.long
def test_a_ranking_in_rounds_resumes_bit_for_bit(tmp_path, last):
    settings = config(**RANKING)
    whole = run(tmp_path / "whole", settings, score=brightness)
    assert len(losses(whole)) == 6 and isinstance(whole[-1], RunFinished)
    events = train(settings, tmp_path / "cut", FAMILY.tiny(), FAMILY, PROMPTS, cpu=True, score=brightness)
    cut = list(itertools.takewhile(lambda e: e.step <= last, events))
    assert losses(cut)[: last // 2 * 2] + losses(run(tmp_path / "cut", settings, score=brightness)) == losses(whole)
    for name in ("pool-0000.safetensors", "pool-0001.safetensors", "offset.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()
    first, second = (StartPoints.load(tmp_path / "whole" / f"pool-000{n}.safetensors") for n in (0, 1))
    assert not torch.equal(first.x_0, second.x_0), "the second round has samples of its own"


def test_the_cost_of_a_ranking_counts_every_rounds_samples():
    settings = config(**RANKING, pool_omega=1.0)
    assert row_forwards_of_own_samples(settings) == 3 * 2 * 4 * 6 * 2  # candidates, rounds, prompts, grid, guidance
    assert row_forwards_of_step(settings) == 8
    with pytest.raises(StudioError, match="needs a scorer"):
        config(method="ranking")


def damaged(folder):
    (folder / "rejected" / "2.png").write_bytes(b"\x89PNG no picture")


def missing(folder):
    (folder / "rejected" / "1.png").unlink()


def twice(folder):
    (folder / "rejected" / "3.png").write_bytes((folder / "preferred" / "3.png").read_bytes())


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (damaged, "A picture of the pair 2 is not a readable image"),
        (missing, "The pair 1 is missing its picture “1.png”"),
        (twice, "The pair 3 has the same picture twice"),
    ],
)
def test_a_bad_pair_is_named(tmp_path, spoil, sentence):
    folder = folder_of_pairs(tmp_path / "pairs")
    assert len(read_pairs(folder, 2)) == 4
    spoil(folder)
    with pytest.raises(StudioError, match=sentence) as refused:
        read_pairs(folder, 2)
    assert str(tmp_path) not in str(refused.value) and refused.value.remedy


def lines(folder, rows):
    path = folder / "set.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_jsonl_names_files_next_to_it_and_its_faults_by_line(tmp_path):
    folder_of_pairs(tmp_path)
    row = {"prompt": "a", "preferred": "preferred/0.png", "rejected": "rejected/0.png"}
    (pair,) = read_pairs(lines(tmp_path, [row, ""]), 1)
    assert pair.prompt == "a" and pair.preferred == (tmp_path / "preferred/0.png").read_bytes()
    for rows, sentence in (
        (
            [row, {"caption": "a", "good": "x", "bad": "y"}],
            "does not have the columns of pairs; it has caption, good, bad",
        ),
        ([row, "{"], "Line 2 of “set.jsonl” is not valid JSON"),
        ([row, "[1]"], "it has none"),
        ([row, {**row, "rejected": "nowhere.png"}], "The pair 2 is missing its picture “nowhere.png”"),
    ):
        with pytest.raises(StudioError, match=sentence):
            read_pairs(lines(tmp_path, rows), 1)
    with pytest.raises(StudioError, match="contains 1 pairs, fewer than one batch of 3"):
        read_pairs(lines(tmp_path, [row]), 3)
    for source in (tmp_path / "nothing", tmp_path / "preferred"):
        with pytest.raises(StudioError):
            read_pairs(source, 1)


def test_parquet_in_our_columns_and_in_those_of_pick_a_pic(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    from pyarrow import table

    folder_of_pairs(tmp_path)
    good, bad = ((tmp_path / part / "0.png").read_bytes() for part in ("preferred", "rejected"))
    tables = {
        "ours": {
            "prompt": ["a"],
            "preferred": [{"bytes": good, "path": "x"}],
            "rejected": [{"bytes": bad, "path": ""}],
        },
        "pick": {
            "caption": ["a", "b", "c"],
            "jpg_0": [bad, good, good],
            "jpg_1": [good, bad, bad],
            "label_0": [0.0, 1.0, 0.5],
        },
    }
    for name, columns in tables.items():
        parquet.write_table(table(columns), tmp_path / f"{name}.parquet")
        pairs = read_pairs(tmp_path / f"{name}.parquet", 1)
        assert [(p.preferred, p.rejected) for p in pairs] == [(good, bad)] * (1 if name == "ours" else 2)


@pytest.mark.long
def test_pictures_without_captions_can_be_learned_but_not_rolled_out(tmp_path):
    (tmp_path / "bare").mkdir()
    for n in range(3):
        Image.new("RGB", (32, 32), (80 * n, 0, 0)).save(tmp_path / "bare" / f"{n}.png")
    settings = config(method="fine-tuning", start="images", images_folder=str(tmp_path / "bare"))
    assert isinstance(run(tmp_path / "run", settings)[-1], RunFinished)
    with pytest.raises(StudioError, match="no captioned image"):
        run(tmp_path / "other", config(start="images", images_folder=str(tmp_path / "bare")))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"method": "pairs"}, "method = pairs cannot start from own"),
        ({"method": "pairs", "start": "pairs"}, "needs pairs"),
        ({"method": "distillation"}, "needs flaws"),
        ({"method": "fine-tuning", "start": "noise"}, "cannot start from noise. Choose start = own or images"),
        ({"flaws": "blurry"}, "flaws only applies"),
        ({"start": "pairs"}, "cannot start from pairs"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(values, sentence):
    with pytest.raises(StudioError, match=sentence):
        config(**values)


def test_every_method_has_an_objective_and_recipes_that_are_valid():
    assert set(METHODS) == set(MethodSettings.__pydantic_fields__["method"].annotation.__args__)
    for name in RECIPES:
        made = recipe(name, images_folder="x", pairs="y") if name != "studio" else recipe(name)
        assert row_forwards_per_sample(made) > 0
    assert recipe("diffusion-dpo", pairs="y").direction == "positive"
