"""An offset in memory: its low-rank and its dense parts are mixed, measured, imitated and applied alike."""

import pytest
import torch

from core.errors import StudioError
from core.families import get
from core.method.guidance import GuidanceWeights
from core.offsets.low_rank import LowRankLayer, factorize
from core.offsets.offset import DenseLayer, Offset
from core.offsets.row_gate import row_gate
from tests.builders.offsets import DELTA, ETA, batch, predict

FAMILY = get("sd15")
BOTH = "down_blocks.0.resnets.0.conv1"  # a module with a low-rank and a dense change


def with_dense(offset: Offset, seed: int, size: float = 0.3) -> Offset:
    """The offset with changes of a norm, of a bias, and of a weight that has a low-rank change too."""
    generator = torch.Generator().manual_seed(seed)
    modules = dict(FAMILY.tiny().unet.named_modules())

    def like(parameter):
        return size * torch.randn(parameter.shape, generator=generator)

    norm, linear = modules["conv_norm_out"], modules["time_embedding.linear_1"]
    dense = {
        "conv_norm_out": DenseLayer(like(norm.weight), like(norm.bias)),
        "time_embedding.linear_1": DenseLayer(None, like(linear.bias)),
        BOTH: DenseLayer(like(modules[BOTH].weight), None),
    }
    return Offset(offset.low_rank, dense)


FIRST, SECOND = with_dense(ETA, 1), with_dense(DELTA, 2)


def flat(offset: Offset) -> dict[str, torch.Tensor]:
    return dict(offset.changes())


def test_every_change_appears_once_and_both_kinds_of_a_module_add_up():
    assert BOTH in FIRST.low_rank and len(FIRST.modules) == len(set(FIRST.modules))
    names = [name for name, _ in FIRST.changes()]
    assert len(names) == len(set(names)) == len(FIRST.low_rank) + 3  # BOTH counts once
    torch.testing.assert_close(flat(FIRST)[f"{BOTH}.weight"], FIRST.low_rank[BOTH].dense() + FIRST.dense[BOTH].weight)


def test_a_combination_is_the_weighted_sum_of_all_parts():
    mixed = flat(Offset.combine([(FIRST, 0.5), (SECOND, -2.0), (ETA, 1.0)]))
    first, second, third = flat(FIRST), flat(SECOND), flat(ETA)
    assert mixed.keys() == first.keys()
    for name, change in mixed.items():
        wanted = 0.5 * first[name] - 2.0 * second[name] + third.get(name, torch.zeros(()))
        torch.testing.assert_close(change, wanted, rtol=1e-4, atol=1e-5)


def test_a_part_that_one_offset_alone_has_is_kept():
    mixed = Offset.combine([(Offset({}, {"a": DenseLayer(None, torch.ones(2))}), 3.0), (DELTA, 1.0)])
    assert torch.equal(mixed.dense["a"].bias, torch.full((2,), 3.0)) and mixed.dense["a"].weight is None
    assert mixed.low_rank.keys() == DELTA.low_rank.keys()


def test_the_norm_is_of_the_whole_change():
    wanted = sum(float(change.double().square().sum()) for change in flat(FIRST).values()) ** 0.5
    assert FIRST.norm() == pytest.approx(wanted) and FIRST.norm() > 1.01 * ETA.norm()
    assert Offset({}, {"a": DenseLayer(None, torch.tensor([3.0, 4.0]))}).norm() == pytest.approx(5.0)
    assert Offset().norm() == 0


def test_its_size_counts_the_matrices_not_their_products():
    low_rank = {"a": LowRankLayer(torch.ones(2, 5), torch.ones(7, 2))}
    assert Offset(low_rank, {"a": DenseLayer(None, torch.ones(7))}).numel() == 10 + 14 + 7


def test_the_random_control_has_the_same_norm_in_every_part():
    control = SECOND.random_like(seed=5)
    for name, layer in SECOND.low_rank.items():
        torch.testing.assert_close(control.low_rank[name].dense().norm(), layer.dense().norm(), rtol=1e-4, atol=0)
    assert control.dense.keys() == SECOND.dense.keys()
    for name, change in SECOND.dense.items():
        for drawn, own in zip(control.dense[name], change, strict=True):
            assert (drawn is None) == (own is None)
            if own is not None:
                torch.testing.assert_close(drawn.norm(), own.norm(), rtol=1e-4, atol=0)
    wanted = flat(SECOND)
    overlap = sum(float((change * wanted[name]).sum()) for name, change in control.changes()) / SECOND.norm() ** 2
    assert abs(overlap) < 0.1
    again = flat(SECOND.random_like(seed=5))
    assert all(torch.equal(change, again[name]) for name, change in control.changes())


@torch.no_grad()
def test_applying_adds_every_part_and_puts_the_weights_back_bit_by_bit():
    unet = FAMILY.tiny().unet
    before = {name: parameter.clone() for name, parameter in unet.named_parameters()}
    with pytest.raises(RuntimeError, match="inside"), FIRST.apply(unet, 0.5):
        changed = dict(unet.named_parameters())
        for name, change in FIRST.changes():
            torch.testing.assert_close(changed[name], before[name] + 0.5 * change)
        raise RuntimeError("inside")
    assert all(torch.equal(parameter, before[name]) for name, parameter in unet.named_parameters())


@torch.no_grad()
def test_the_row_gate_adds_both_kinds_of_a_module():
    pipe = FAMILY.tiny()
    x, t, cond = batch(2)
    with row_gate(pipe.unet, None, FIRST) as gate:
        gate.set_columns([GuidanceWeights(omega=1, alpha=1, beta=0.7)], images_per_column=1)
        gated = predict(pipe, x, t, cond)
    with FIRST.apply(pipe.unet, 0.7):
        torch.testing.assert_close(gated[0], predict(pipe, x, t, cond)[0], rtol=0, atol=2e-5)


def test_a_dense_part_of_another_shape_is_refused():
    with pytest.raises(StudioError, match="bias of conv_norm_out does not fit"):
        Offset({}, {"conv_norm_out": DenseLayer(None, torch.ones(3))}).check_fits(FAMILY.tiny().unet)
    with pytest.raises(StudioError, match="but the model's has no weight"):
        Offset({"mid_block": LowRankLayer(torch.ones(1, 2), torch.ones(2, 1))}).check_fits(FAMILY.tiny().unet)


def test_factoring_at_full_rank_is_exact_and_what_is_lost_is_known():
    for shape in ((6, 5), (4, 3, 3, 3)):
        change = torch.randn(shape)
        torch.testing.assert_close(factorize(change, rank=99).layer.dense(), change, atol=1e-5, rtol=1e-4)
        factoring = factorize(change, rank=2)
        assert factoring.layer.rank == 2 and factoring.whole == pytest.approx(float(change.square().sum()), rel=1e-5)
        lost = float((change - factoring.layer.dense()).square().sum())
        assert factoring.lost == pytest.approx(lost, rel=1e-4) and 0 < lost < factoring.whole
    with pytest.raises(ValueError, match="a rank or an error"):
        factorize(torch.ones(2, 2))
