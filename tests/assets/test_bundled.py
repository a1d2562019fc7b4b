"""What is bundled: a stock SD1.5 folder within its size, a judge that reads it, offsets that fit it."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline

from core.evaluation.pixels import as_signed
from core.families import detect, get
from core.generation.media import read_png
from core.generation.rendering import Comparison
from core.generation.rendering import render as render_pairs
from core.method.guidance import GuidanceWeights
from core.miniature.world.render import render
from core.miniature.world.scene import parse, sample_prompts, sample_scene
from core.miniature.worlds import DRAWINGS, SHAPES, world_of
from core.offsets.files import load_lora, read_offset
from core.studio.comparing.settings import comparison_of, opening_values
from core.studio.workspace import Workspace

ASSETS = Path(__file__).parents[2] / "assets"
MINIATURE = ASSETS / "miniature-sd15"
DRAWN = ASSETS / "miniature-drawings"
OTHERS = sorted(set(ASSETS.glob("miniature-*")) - {MINIATURE})
OFFSETS = sorted((ASSETS / "offsets").glob("*.safetensors"))
FAMILY = get("sd15")


@pytest.fixture(scope="module")
def pipe():
    return FAMILY.load(MINIATURE)


def test_the_stock_pipeline_loads_it_unchanged_and_it_is_at_most_14_megabytes():
    stock = StableDiffusionPipeline.from_pretrained(MINIATURE, safety_checker=None, local_files_only=True)
    names = {type(part).__name__ for part in (stock.unet, stock.vae, stock.text_encoder)}
    assert names == {"UNet2DConditionModel", "AutoencoderKL", "CLIPTextModel"}
    assert sum(file.stat().st_size for file in MINIATURE.rglob("*.safetensors")) <= 14e6


def test_every_word_of_the_world_is_one_token(pipe):
    from core.miniature.world.scene import vocabulary

    assert all(len(pipe.tokenizer(word).input_ids) == 3 for word in vocabulary())
    for text in sample_prompts(300, seed=4, keep=1.0):
        assert len(pipe.tokenizer(text).input_ids) <= pipe.tokenizer.model_max_length


@torch.no_grad()
@pytest.mark.long
def test_the_judge_reads_clean_scenes_through_the_vae_and_knows_flawed_ones(pipe):
    import numpy as np

    judge, rng = SHAPES.judge(ASSETS), np.random.default_rng(99)
    scenes = [sample_scene(rng) for _ in range(32)] + [sample_scene(rng, spoilt=1.0) for _ in range(32)]
    images = FAMILY.decode_latents(pipe, FAMILY.encode_image(pipe, render(scenes) * 2 - 1)).clamp(-1, 1)
    scores = judge.score(images, [s.attributes for s in scenes])
    assert scores.accuracy[:32].mean() > 0.95
    assert scores.cleanliness[:32].mean() > 0.9 > 0.3 > scores.cleanliness[32:].mean()


@pytest.mark.parametrize("name", ["miniature-sd15", "miniature-sdxl"])
@pytest.mark.long
def test_guidance_makes_the_miniatures_pictures_cleaner_and_truer(name):
    judge, family = SHAPES.judge(ASSETS), get(detect(ASSETS / name))
    pipe, scores = family.load(ASSETS / name), {}
    for omega in (0.0, 5.0):
        parts = []
        for seed, prompt in enumerate(sample_prompts(6, seed=8)):
            comparison = Comparison(prompt=prompt, seeds=(seed,), columns=(GuidanceWeights(omega=omega),), steps=12)
            image = render_pairs(pipe, family, comparison)[0].image
            pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(1, 64, 64, 3)
            parts.append(judge.score(pixels.movedim(-1, 1).float() / 127.5 - 1, [parse(prompt)]).preference)
        scores[omega] = float(torch.cat(parts).mean())
    assert scores[5.0] > scores[0.0] + 0.15


@pytest.mark.parametrize("folder", OTHERS, ids=lambda folder: folder.name)
def test_other_layouts_are_stock_folders_of_at_most_20_megabytes(folder):
    stock = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    assert isinstance(stock, get(detect(folder)).pipeline)
    assert sum(file.stat().st_size for file in folder.rglob("*.safetensors")) <= 20e6


@pytest.mark.parametrize("file", OFFSETS, ids=lambda file: file.stem)
def test_bundled_offsets_fit_their_miniature_and_say_how_they_were_made(file):
    info = read_offset(file)
    base = ASSETS / info.provenance["base"]
    family = get(detect(base))
    assert info.family == family.name and int(info.provenance["steps"]) > 0 and info.provenance["recipe"]
    load_lora(file, family=family.name).check_fits(family.denoiser(family.load(base)))


@pytest.mark.parametrize("folder", [MINIATURE, *OTHERS], ids=lambda folder: folder.name)
def test_compare_opens_with_values_that_can_be_rendered(folder):
    values = json.loads((folder / "studio.json").read_text())
    assert comparison_of(values).columns[1].beta != 0
    assert values["negative"] in {file.stem for file in OFFSETS}
    if detect(folder) != "cogvideox":
        assert world_of(folder).parse(values["prompt"])


def test_all_assets_are_at_most_70_megabytes_and_can_be_read_by_everybody():
    files = [file for file in ASSETS.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    assert sum(file.stat().st_size for file in files) <= 70 * 2**20
    assert all(file.stat().st_mode & 0o444 == 0o444 for file in files)


def test_the_page_opens_on_the_drawings_with_an_offset_that_is_there(tmp_path):
    values = opening_values(Workspace(tmp_path), {})
    assert values["base"] == DRAWN.name and values["negative"] in {file.stem for file in OFFSETS}
    assert DRAWINGS.parse(values["prompt"]) and values["hold_dose"]
    settings = [read_png(file) for file in sorted((ASSETS / "page" / "opening").glob("*.png"))]
    assert len(settings) == 2 * values["images"]
    for name in ("prompt", "omega", "steps"):
        assert {facts[name] for facts in settings} == {values[name]}
    assert {facts["seed"] for facts in settings} == set(range(values["seed"], values["seed"] + values["images"]))


def test_the_drawings_know_every_word_of_their_world_and_draw_it_for_their_judge():
    pipe = FAMILY.load(DRAWN)
    assert all(len(pipe.tokenizer(word).input_ids) == 3 for word in DRAWINGS.language.vocabulary())
    judge, named = DRAWINGS.judge(ASSETS), []
    for seed, prompt in enumerate(("a large soft heart", "a large vintage tomato", "a large detailed orange")):
        comparison = Comparison(prompt=prompt, seeds=(seed,), columns=(GuidanceWeights(omega=4.0),), steps=12)
        image = render_pairs(pipe, FAMILY, comparison)[0].image
        assert image.size == (96, 96)
        named.append(float(judge.score(as_signed([image]), [DRAWINGS.parse(prompt)]).named))
    assert sum(named) >= 2


@torch.no_grad()
@pytest.mark.long
def test_the_video_judge_reads_clean_renderings_and_the_moving_miniature_heeds_its_prompts():
    import numpy as np

    from core.miniature.video_judge import VideoJudge
    from core.miniature.world import video as moving

    judge, rng = VideoJudge.load(ASSETS / "judge"), np.random.default_rng(99)
    scenes = [moving.sample_video(rng) for _ in range(24)]
    assert judge.score(moving.render_video(scenes) * 2 - 1, [s.attributes for s in scenes]).accuracy.mean() > 0.85
    family = get("cogvideox")
    moving_pipe, accuracies = family.load(ASSETS / "miniature-cogvideox"), []
    for seed, prompt in enumerate(moving.sample_prompts(5, seed=21)):
        wanted = Comparison(prompt=prompt, seeds=(seed,), columns=(GuidanceWeights(omega=3.0),), steps=15)
        frames = render_pairs(moving_pipe, family, wanted)[0].frames
        clip = torch.stack([torch.from_numpy(np.array(frame)).movedim(-1, 0) for frame in frames]).float() / 127.5 - 1
        accuracies.append(float(judge.score(clip[None], [moving.parse(prompt)]).accuracy))
    assert sum(accuracies) / len(accuracies) > 0.65
