"""Under torch.compile the row gate is a part of one graph, which stays whatever slider is moved; and it asks no device."""

import pytest
import torch
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode

from core.errors import StudioError
from core.families import get
from core.families.base import join
from core.families.compiling import Compilation, inside_compiled
from core.generation.guided import guided_rows
from core.generation.watch import Cancelled, Watch
from core.method.guidance import BetaSchedule, GuidanceWeights
from core.method.schedule import NoiseSchedule
from core.offsets.offset import DenseLayer, Offset, random_offset
from core.offsets.row_gate import row_gate
from tests.builders import offsets as build

FIRST = GuidanceWeights(omega=2.0, alpha=0.6, beta=0.9)
MOVED = [
    ("a prompt", {"prompts": ["x", "y"]}),
    ("the step", {"t": 300}),
    ("omega", {"weights": GuidanceWeights(omega=7.0, alpha=0.6, beta=0.9)}),
    ("alpha and beta", {"weights": GuidanceWeights(omega=2.0, alpha=0.2, beta=0.1)}),
    ("beta to nothing", {"weights": GuidanceWeights(omega=2.0, alpha=1.0, beta=0.0)}),
    ("a schedule", {"weights": GuidanceWeights(omega=2.0, beta=1.0, beta_schedule=BetaSchedule(split=0.6, late=0.0))}),
]


@pytest.fixture(autouse=True)
def fresh_counters():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


class Guided:
    """A tiny model of a family and its guided predictions; each opens a gate of its own, as each rendering does."""

    def __init__(self, name):
        self.family = get(name)
        self.pipe = self.family.tiny()
        self.denoiser = self.family.denoiser(self.pipe)
        self.size = build.size_of(self.family, self.pipe)
        self.offsets = [build.random_offset(self.family, self.pipe, seed) for seed in (1, 2)]
        self.x = build.noise(self.family, self.pipe, 2)

    def predict(self, prompts=("ab", "c"), t=500, weights=FIRST):
        empty = self.family.encode_prompt(self.pipe, ["", ""], self.size, negative=True)
        cond = join(empty, self.family.encode_prompt(self.pipe, list(prompts), self.size))
        with torch.no_grad(), row_gate(self.denoiser, *self.offsets) as gate:
            gate.set_columns([weights], 2)
            return self.family.predict(
                self.denoiser, self.x.repeat(2, *[1] * (self.x.ndim - 1)), torch.full((4,), t), cond
            )


def stays_one_graph(guided, compile_it):
    """Whether the first compiled call has the only graphs, without a break, and every call equals the plain network."""
    plain = [guided.predict(**changes) for _, changes in [("", {}), *MOVED]]
    compile_it()
    graphs = None
    for (moved, changes), expected in zip([("nothing", {}), *MOVED], plain, strict=True):
        torch.testing.assert_close(guided.predict(**changes), expected, rtol=0, atol=1e-5)
        graphs = graphs or counters["stats"]["unique_graphs"]
        assert counters["stats"]["unique_graphs"] == graphs, f"{moved} compiled anew"
    assert not counters["graph_break"]
    return graphs


@pytest.mark.long
@pytest.mark.parametrize("name", ["sd15", "sdxl", "cogvideox"])
def test_the_whole_network_with_its_gate_is_one_graph(name):
    guided = Guided(name)

    def compile_it():
        guided.denoiser.forward = torch.compile(guided.denoiser.forward, backend="eager", fullgraph=True)

    assert stays_one_graph(guided, compile_it) == 1


@pytest.mark.long
@pytest.mark.parametrize("name", ["sd15", "cogvideox"])
def test_repeated_blocks_share_their_graphs_and_a_slider_makes_no_new_one(name):
    guided = Guided(name)
    made = []
    graphs = stays_one_graph(guided, lambda: made.append(Compilation(guided.denoiser, backend="eager", fullgraph=True)))
    assert 0 < graphs <= len(made[0].blocks) and made[0].fault() is None
    made[0].take_out()
    assert not any("forward" in vars(module) for module in guided.denoiser.modules())


def test_where_compiling_fails_the_network_goes_on_and_says_so_once():
    guided = Guided("cogvideox")
    expected = guided.predict()

    def backend(graph, inputs):
        raise OSError("no compiler")

    compilation = Compilation(guided.denoiser, backend=backend)
    torch.testing.assert_close(guided.predict(), expected, rtol=0, atol=1e-5)
    assert "Compiling failed" in str(compilation.fault()) and compilation.fault() is None
    assert not compilation.blocks


def test_a_rendering_can_be_stopped_between_compiled_blocks():
    guided = Guided("cogvideox")
    Compilation(guided.denoiser, backend="eager", fullgraph=True)
    guided.predict()
    inside = inside_compiled(guided.denoiser)
    with Watch(cancelled=lambda: True).over(guided.denoiser):
        assert inside and not any(module._forward_pre_hooks for module in inside)
        assert any(module._forward_pre_hooks for module in guided.denoiser.modules())
    assert issubclass(Cancelled, StudioError)


class Asked(TorchDispatchMode):
    """Counts how often the host waits for a number of the device."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("merged", [False, True])
def test_no_layer_asks_the_device(merged):
    guided = Guided("sd15")
    unet = guided.denoiser
    dense = {"conv_norm_out": DenseLayer(torch.randn(16), torch.randn(16)), "conv_in": DenseLayer(bias=torch.randn(16))}
    cond = {"encoder_hidden_states": torch.randn(4, 16, 32)}
    offset = Offset(random_offset(unet, guided.family.lora_targets, rank=2).low_rank, dense)
    with torch.no_grad(), row_gate(unet, None, offset, merged=merged) as gate:
        gate.set_columns([FIRST, GuidanceWeights(omega=2.0)], 1)
        x, t = torch.randn(4, 4, 16, 16), torch.full((4,), 500)
        with Asked() as constant:
            guided.family.predict(unet, x, t, cond)
        gate.set_columns([GuidanceWeights(omega=2.0, beta=1.0, beta_schedule=BetaSchedule(split=0.6, late=0.0))], 2)
        with Asked() as scheduled:
            guided.family.predict(unet, x, t, cond)
    assert (constant.count, scheduled.count) == (0, 1)


@pytest.mark.parametrize(("changes", "asked"), [({}, 0), ({"interval_high": 0.8}, 1), ({"apg_parallel": 0.5}, 1)])
def test_a_form_asks_for_the_noise_level_only_where_it_changes_along_the_way(changes, asked):
    guided = Guided("sd15")
    weights = GuidanceWeights(omega=2.0, beta=0.5, guidance="three-terms", **changes)
    schedule = NoiseSchedule.from_scheduler(guided.pipe.scheduler)
    cond = {"encoder_hidden_states": torch.randn(2, 16, 32)}
    with torch.no_grad(), row_gate(guided.denoiser, None, guided.offsets[1]) as gate:
        with guided_rows(guided.denoiser, gate, [weights], 1, schedule), Asked() as counted:
            guided.family.predict(guided.denoiser, torch.randn(2, 4, 16, 16), torch.full((2,), 500), cond)
    assert counted.count == asked


def test_only_a_schedule_asks_for_the_noise_level():
    constant = [FIRST, GuidanceWeights(omega=2.0, cfg_rescale=0.3), GuidanceWeights(omega=1.0, guidance="three-terms")]
    assert all(weights.is_constant for weights in constant)
    assert not GuidanceWeights(omega=2.0, beta_schedule=BetaSchedule(split=0.5, late=0.0)).is_constant
    assert not GuidanceWeights(omega=2.0, late_guidance="cfg").is_constant
    assert not GuidanceWeights(omega=2.0, interval_high=0.8).is_constant
    for weights in constant:
        assert len({weights.rows(level / 10) for level in range(11)}) == 1
