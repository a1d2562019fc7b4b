"""What only a card can show: the row gate, compiled blocks, saved memory and a resumed training in its own arithmetic.

Skipped, and said so at the end, where there is no NVIDIA card.
"""

import pytest
import torch

from core.families import get
from core.families.base import join
from core.families.compiling import Compilation
from core.families.saving import save_memory
from core.generation.comparison import Comparison
from core.generation.rendering import render
from core.method.guidance import GuidanceWeights
from core.offsets.offset import Offset
from core.offsets.row_gate import row_gate
from tests.builders.offsets import noise, random_offset, size_of
from tests.builders.studio import NO_CARD
from tests.training.variants import PROMPTS, losses
from tests.training.variants import config as small

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_CARD)
CARD = torch.device("cuda")
NEAR = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""The largest difference of predictions of unit size, by precision."""


class Guided:
    """A tiny model on the card and its guided predictions."""

    def __init__(self, name, dtype=torch.float32):
        self.family = get(name)
        self.pipe = self.family.tiny().to(CARD, dtype)
        self.denoiser = self.family.denoiser(self.pipe)
        self.size = size_of(self.family, self.pipe)
        self.offset = random_offset(self.family, self.family.tiny())
        self.x = noise(self.family, self.pipe, 2).to(CARD, dtype)

    def conditionings(self):
        encode = self.family.encode_prompt
        return encode(self.pipe, ["", ""], self.size, negative=True), encode(self.pipe, ["ab", "c"], self.size)

    def gated(self, beta=0.9, merged=None):
        with torch.no_grad(), row_gate(self.denoiser, None, self.offset, merged=merged) as gate:
            gate.set_columns([GuidanceWeights(omega=2.0, beta=beta)], 2)
            x, t = torch.cat([self.x, self.x]), torch.full((4,), 500, device=CARD)
            return self.family.predict(self.denoiser, x, t, join(*self.conditionings()))

    def apart(self, beta=0.9):
        empty, cond = self.conditionings()
        t = torch.full((2,), 500, device=CARD)
        with torch.no_grad():
            high = self.family.predict(self.denoiser, self.x, t, cond)
            with Offset.combine([(self.offset, beta)]).apply(self.denoiser):
                return torch.cat([self.family.predict(self.denoiser, self.x, t, empty), high])


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("dtype", list(NEAR))
@pytest.mark.parametrize("name", ["sd15", "sdxl", "cogvideox"])
def test_the_gate_is_two_networks_in_every_precision(name, dtype, merged):
    guided = Guided(name, dtype)
    torch.testing.assert_close(guided.gated(merged=merged), guided.apart(), rtol=0, atol=NEAR[dtype])


def test_a_slider_and_a_prediction_never_wait_for_the_card():
    guided = Guided("sd15")
    with torch.no_grad(), row_gate(guided.denoiser, None, guided.offset, merged=False) as gate:
        x, t = torch.cat([guided.x, guided.x]), torch.full((4,), 500, device=CARD)
        cond = join(*guided.conditionings())
        gate.set_columns([GuidanceWeights(omega=2.0, beta=0.5)], 2)
        guided.family.predict(guided.denoiser, x, t, cond)
        torch.cuda.set_sync_debug_mode("error")
        try:
            guided.family.predict(guided.denoiser, x, t, cond)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", ["sd15", "cogvideox"])
def test_compiled_blocks_are_compiled_once_and_predict_the_same(name):
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    guided = Guided(name)
    expected = [guided.apart(beta) for beta in (0.9, 0.3)]
    compilation = Compilation(guided.denoiser)
    torch.testing.assert_close(guided.gated(0.9), expected[0], rtol=0, atol=1e-3)
    graphs = counters["stats"]["unique_graphs"]
    torch.testing.assert_close(guided.gated(0.3), expected[1], rtol=0, atol=1e-3)
    assert compilation.fault() is None and counters["stats"]["unique_graphs"] == graphs > 0


@pytest.mark.parametrize("ways", [("group-offload",), ("layerwise-casting",), ("vae-tiling", "group-offload")])
def test_saved_memory_renders_nearly_the_same(ways):
    family = get("sd15")
    comparison = Comparison(prompt="ab", steps=3, columns=(GuidanceWeights(omega=2.0, beta=1.0),))
    offset = random_offset(family, family.tiny())
    plain, saving = family.tiny().to(CARD), family.tiny()
    if "group-offload" not in ways:
        saving.to(CARD)
    save_memory(saving, family, ways, CARD)
    pictures = [render(pipe, family, comparison, negative=offset)[0].image for pipe in (plain, saving)]
    before, after = (torch.tensor(list(picture.convert("L").getdata())).float() for picture in pictures)
    assert (before - after).abs().mean() < 12


def test_group_offload_keeps_weights_off_the_card():
    family = get("sd15")
    pipe = family.tiny()
    save_memory(pipe, family, ["group-offload"], CARD)
    assert {parameter.device.type for parameter in pipe.unet.parameters()} == {"cpu"}


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_a_resumed_training_goes_on_near_the_uninterrupted_one(tmp_path, precision):
    from core.training.loop import train

    def run(folder, stop=lambda: None):
        folder.mkdir(exist_ok=True)
        return list(train(small(precision=precision), folder, get("sd15").tiny(), get("sd15"), PROMPTS, stop=stop))

    whole = losses(run(tmp_path / "whole"))
    asked = iter([None, None, None, "pause"])
    first = losses(run(tmp_path / "cut", stop=lambda: next(asked, "pause")))
    rest = losses(run(tmp_path / "cut"))
    assert [step for step, *_ in first + rest] == [step for step, *_ in whole]
    for (_, one, _), (_, other, _) in zip(first + rest, whole, strict=True):
        assert float.fromhex(one) == pytest.approx(float.fromhex(other), rel=2e-2)
