"""The world of drawings: its words, captions and pictures, how they are spoilt, and the judge that reads them."""

import argparse
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from assets.build.drawings import assemble, denoiser, kept
from assets.build.drawings.latents import CHANNELS, PatchBasis, fit_basis
from assets.build.drawings.layout import make_vae
from assets.build.drawings.muon import Muon, orthogonalize
from assets.build.drawings.render import SIDE, Drawings, render, render_scene
from core.errors import StudioError
from core.evaluation.statistics import Gaussian
from core.miniature.drawings.judge import READERS
from core.miniature.drawings.judge import SIDE as JUDGED
from core.miniature.drawings.scene import LANGUAGE, caption, describe, parse, sample_prompts, sample_scene, vocabulary
from core.miniature.drawings.words import ATTRIBUTES, FLAWS, HELD_OUT, STYLES, THINGS
from core.miniature.judge import FEATURES, Judge
from core.miniature.language import PLACES, Scene
from core.miniature.worlds import DRAWINGS


@pytest.fixture(scope="module")
def drawings():
    """Every drawing is a red disc with a black bar: the sets themselves are not in the repository."""
    rows, columns = np.mgrid[0:128, 0:128]
    picture = np.zeros((128, 128, 4), np.uint8)
    picture[np.hypot(rows - 64, columns - 64) < 60] = (220, 30, 30, 255)
    picture[58:70, 20:108] = (0, 0, 0, 255)
    shape = (len(STYLES), len(THINGS))
    fine, coarse = np.broadcast_to(picture, (*shape, 128, 128, 4)), picture[::2, ::2]
    return Drawings(fine, np.broadcast_to(coarse, (*shape, 64, 64, 4)))


def scene(flaw="clean", seed=3, **changes):
    attributes = {"first_thing": "fox", "first_style": "flat", "first_size": "large", "place": "middle"}
    return Scene({**attributes, "ground": "white", "pattern": "plain", **changes}, flaw, seed)


@given(st.integers(0, 2**32), st.floats(0, 1), st.floats(0, 1))
def test_what_a_caption_says_is_what_is_read_from_it(seed, keep, tell_flaw):
    rng = np.random.default_rng(seed)
    shown = sample_scene(rng, pairs=0.5, spoilt=0.5)
    text = caption(shown, rng, keep=keep, tell_flaw=tell_flaw)
    asked = parse(text)
    assert asked.items() <= shown.attributes.items() and "first_thing" in asked
    assert parse(describe(asked)) == asked
    assert set(text.replace(",", " , ").split()) <= set(vocabulary())


@pytest.mark.parametrize("text", ["a fox on the ceiling", "fox", "a wooden fox", "a fox, very beautiful", ""])
def test_other_sentences_are_refused(text):
    with pytest.raises(StudioError):
        parse(text)


def test_a_tenth_of_the_pairs_is_held_out_and_every_thing_and_style_is_trained():
    pairs = [(thing, style) for thing in THINGS for style in STYLES]
    assert 0.08 < len(HELD_OUT) / len(pairs) < 0.12 and set(pairs) > HELD_OUT
    for thing in THINGS:
        assert sum((thing, style) in HELD_OUT for style in STYLES) <= 3, thing
    rng = np.random.default_rng(0)
    for _ in range(3000):
        shown = sample_scene(rng, pairs=0.5).attributes
        for which in ("first", "second"):
            assert (shown.get(f"{which}_thing"), shown.get(f"{which}_style")) not in HELD_OUT
    asked = [parse(text) for text in sample_prompts(200, 5, keep=1.0, held_out=True)]
    assert all((facts["first_thing"], facts["first_style"]) in HELD_OUT for facts in asked)


def redness(image):
    """(SIDE, SIDE) bool: where the disc is."""
    pixels = image.astype(int)
    return (pixels[..., 0] > 150) & (pixels[..., 1] < 90)


def test_a_thing_is_where_and_as_large_as_the_scene_says(drawings):
    for seed in range(5):
        centers, areas = {}, {}
        for place in PLACES:
            rows, columns = np.nonzero(redness(render_scene(scene(place=place, seed=seed), drawings)))
            centers[place] = (rows.mean(), columns.mean())
        for size in ("small", "large"):
            areas[size] = redness(render_scene(scene(first_size=size, seed=seed), drawings)).sum()
        assert centers["left"][1] < centers["middle"][1] < centers["right"][1]
        assert centers["top"][0] < centers["middle"][0] < centers["bottom"][0]
        assert areas["small"] < 0.6 * areas["large"]


def test_two_things_stand_beside_or_above_each_other(drawings):
    two = {"second_thing": "pizza", "second_style": "soft", "second_size": "large"}
    for seed in range(5):
        beside = redness(render_scene(scene(place="beside", seed=seed, **two), drawings))
        above = redness(render_scene(scene(place="above", seed=seed, **two), drawings))
        assert beside[:, : SIDE // 2].any() and beside[:, SIDE // 2 :].any() and not beside[:12].any()
        assert above[: SIDE // 2].any() and above[SIDE // 2 :].any() and not above[:, :12].any()


@pytest.mark.parametrize("flaw", FLAWS[1:])
def test_every_flaw_is_seen_in_degrees_and_is_the_same_each_time(drawings, flaw):
    changes = []
    for seed in range(8):
        clean, spoilt = (render_scene(scene(kind, seed), drawings).astype(float) for kind in ("clean", flaw))
        assert (spoilt == render_scene(scene(flaw, seed), drawings)).all()
        changes.append(np.abs(spoilt - clean).mean())
    assert min(changes) > 0.4 and max(changes) > 1.3 * min(changes)


def test_the_latents_keep_what_their_components_span(drawings, tmp_path):
    basis = fit_basis(drawings, 0, spoilt=0.2, scenes=60)
    basis.save(tmp_path / "basis.safetensors")
    again = PatchBasis.load(tmp_path / "basis.safetensors")
    latents = torch.randn(2, CHANNELS, 12, 12) / basis.scaling_factor
    torch.testing.assert_close(again.encode(again.decode(latents)), latents, atol=1e-3, rtol=1e-3)
    images = render([sample_scene(np.random.default_rng(7)) for _ in range(20)], drawings).float() / 127.5 - 1
    assert 0.6 < float((basis.encode(images) * basis.scaling_factor).std()) < 1.6
    error = (basis.decode(basis.encode(images)) - images).square().mean()
    assert error < 0.03 * images.var()


def test_muon_makes_matrices_nearly_orthogonal_and_learns():
    turned = torch.linalg.svdvals(orthogonalize(torch.randn(2, 24, 40) * 3))
    assert float(turned.min()) > 0.6 and float(turned.max()) < 1.4
    network = torch.nn.Linear(12, 12)
    optimizer, inputs = Muon.of(network, 0.02), torch.randn(64, 12)
    wanted = inputs.flip(1) * 2 + 1
    losses = []
    for _ in range(150):
        loss = (network(inputs) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.05 * losses[0]


class Prescribed(torch.nn.Module):
    """A reader that says what it was told, whatever the picture."""

    def __init__(self, answers, flaws):
        super().__init__()
        self.answers, self.flaws = answers, flaws

    def forward(self, images):
        logits = {
            name: torch.nn.functional.one_hot(
                torch.tensor([values.index(answer[name]) for answer in self.answers]), len(values)
            )
            * 20.0
            for name, values in ATTRIBUTES.items()
        }
        clean = torch.tensor([FLAWS.index(flaw) for flaw in self.flaws])
        return torch.zeros(len(images), FEATURES), logits, torch.nn.functional.one_hot(clean, len(FLAWS)) * 20.0


def test_the_judge_counts_what_was_asked_and_no_more():
    answer = {name: values[0] for name, values in ATTRIBUTES.items()} | {"first_thing": "fox", "place": "beside"}
    reader = Prescribed([answer] * 4, ["clean", "clean", "blurry", "clean"])
    judge = Judge(reader, LANGUAGE, JUDGED, Gaussian(torch.zeros(1), torch.zeros(1, 1)), {})
    asked = [
        parse("a fox beside a bear"),
        parse("a fox on the left"),
        parse("a bear above a fox"),
        {},
    ]
    scores = judge.score(torch.zeros(4, 3, 64, 64), asked)
    # two things right, arrangement right, and there are two; one right, but neither place nor number; nothing right but two
    assert scores.named.tolist() == pytest.approx([1, 1, 0, 1])
    assert scores.accuracy.tolist() == pytest.approx([1, 1 / 3, 1 / 4, 1])
    assert (scores.cleanliness > 0.9).tolist() == [True, True, False, True]
    assert scores.preference[0] > 0.9 > scores.preference[1] > scores.preference[2]


@pytest.mark.parametrize("name", READERS)
def test_a_judge_is_kept_and_read_back(name, tmp_path):
    reader = READERS[name]()
    clean = {"clean_mean": torch.zeros(FEATURES), "clean_covariance": torch.eye(FEATURES)}
    save_file({**reader.state_dict(), **clean}, tmp_path / f"{name}.safetensors")
    (tmp_path / f"{name}.json").write_text(json.dumps({"accuracy": 0.5}))
    judge = Judge.load(tmp_path / name, READERS[name], LANGUAGE, JUDGED)
    images = torch.rand(2, 3, SIDE, SIDE) * 2 - 1
    reader.eval()
    torch.testing.assert_close(judge.score(images, [{}, {}]).features, reader(images)[0])
    assert judge.facts == {"accuracy": 0.5}
    (tmp_path / f"{name}.safetensors").write_bytes(b"cut off")
    with pytest.raises(StudioError, match="damaged"):
        Judge.load(tmp_path / name, READERS[name], LANGUAGE, JUDGED)


@pytest.mark.long
def test_training_continues_where_it_was_cut_off_and_elsewhere(drawings, tmp_path, monkeypatch):
    monkeypatch.setattr(Drawings, "load", classmethod(lambda cls, file: drawings))
    work, folder, other = tmp_path / "work", tmp_path / "kept", tmp_path / "other"
    (work / "judge").mkdir(parents=True)
    fit_basis(drawings, 0, spoilt=0.2, scenes=20).save(work / "basis.safetensors")
    options = argparse.Namespace(work=work, steps=2, cool=0, batch=2, chunk=8, learning_rate=1e-3, spoilt=0.2)
    options.wrong_captions, options.tell_flaw, options.pairs, options.keep = 0.1, 0.5, 0.2, 0.8
    options.snapshots, options.seed = [], 0
    denoiser.train(options)
    options.steps = 3
    denoiser.train(options)
    state = torch.load(work / "state.pt", weights_only=True)
    assert state["step"] == 3 and state["fresh"] == 0
    vae = make_vae(PatchBasis.load(work / "basis.safetensors").scaling_factor)
    save_file(vae.state_dict(), work / "vae.safetensors")
    (work / "vae.jsonl").write_text("")
    for purpose in DRAWINGS.judges:
        save_file({"weight": torch.ones(2)}, work / "judge" / f"{purpose}.safetensors")
        (work / "judge" / f"{purpose}.json").write_text("{}")
    for module in (assemble, kept):
        monkeypatch.setattr(module, "asset", lambda name: folder / name)
    (folder / "judge").mkdir(parents=True)
    assemble.model(work, folder / "miniature-drawings")
    kept.unpack(folder / "miniature-drawings", other)
    options.work, options.steps = other, 4
    denoiser.train(options)
    assert sorted(file.name for file in (other / "judge").iterdir()) == sorted(
        f"{purpose}.{ending}" for purpose in DRAWINGS.judges for ending in ("safetensors", "json")
    )
    carried = torch.load(other / "state.pt", weights_only=True)
    assert carried["step"] == 4 and carried["fresh"] == 3
    name = "unet.conv_in.weight"
    torch.testing.assert_close(carried["average"][name], state["average"][name], atol=2e-2, rtol=0.05)
    assert all(file.stat().st_mode & 0o444 == 0o444 for file in folder.rglob("*") if file.is_file())
    with pytest.raises(SystemExit):
        kept.unpack(folder / "miniature-drawings", other)
