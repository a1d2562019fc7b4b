"""The row gate equals separate networks, leaves the network as it was, and follows the table."""

import pytest
import torch

from core.errors import StudioError
from core.families import get
from core.method.guidance import BetaSchedule, GuidanceWeights
from core.offsets.low_rank import LowRankLayer
from core.offsets.offset import Offset
from core.offsets.row_gate import row_gate
from tests.builders.offsets import DELTA, ETA, batch, predict

FAMILY = get("sd15")


@pytest.fixture
def pipe():
    return FAMILY.tiny()


@pytest.fixture(params=["merged", "low rank"], autouse=True)
def way(request, monkeypatch):
    """Small networks keep changed weights, large ones do not: every promise holds for both."""
    if request.param == "low rank":
        monkeypatch.setattr("core.offsets.row_gate.MERGED_BYTES", -1)


def test_the_offset_reaches_attention_feed_forward_time_and_convolutions():
    kinds = {name.split(".")[-1] for name in DELTA.modules} | {".".join(name.split(".")[-2:]) for name in DELTA.modules}
    assert {"to_q", "to_k", "to_v", "to_out.0", "net.2", "conv1", "conv2", "conv_shortcut", "time_emb_proj"} <= kinds


def test_each_row_sees_its_own_weights(pipe):
    x, t, cond = batch(4)
    table = [(1.0, 0.0), (0.5, 1.0), (0.0, 0.0), (-0.3, 2.0)]
    with row_gate(pipe.unet, ETA, DELTA) as gate:
        gate.set_rows(torch.tensor(table))
        gated = predict(pipe, x, t, cond)
    for row, (eta, delta) in enumerate(table):
        with Offset.combine([(ETA, eta), (DELTA, delta)]).apply(pipe.unet):
            alone = predict(pipe, x, t, cond)[row]
        assert (gated[row] - alone).abs().max() <= 1e-5
    assert (gated[1] - predict(pipe, x, t, cond)[1]).abs().max() > 1e-2


def test_two_columns_of_a_batch_follow_the_stock_order(pipe):
    x, t, cond = batch(8)
    columns = (GuidanceWeights(omega=2), GuidanceWeights(omega=2, alpha=0.5, beta=1))
    with row_gate(pipe.unet, ETA, DELTA) as gate:
        gate.set_columns(columns, images_per_column=2)
        by_columns = predict(pipe, x, t, cond)
        gate.set_rows(torch.tensor([(1.0, 0.0)] * 2 + [(0.5, 1.0)] * 2 + [(1.0, 0.0)] * 4))
        assert torch.equal(by_columns, predict(pipe, x, t, cond))


def test_beta_follows_its_schedule_over_the_noise_levels(pipe):
    x, _, cond = batch(2)
    weights = GuidanceWeights(omega=1, beta=1, beta_schedule=BetaSchedule(split=0.6, late=0.0))
    plain = {t: predict(pipe, x, torch.full((2,), t), cond) for t in (900, 500)}
    with row_gate(pipe.unet, None, DELTA) as gate:
        gate.set_columns([weights], images_per_column=1)
        early, late = (predict(pipe, x, torch.full((2,), t), cond) for t in (900, 500))
    assert not torch.allclose(early[0], plain[900][0], atol=1e-3)
    assert torch.equal(late, plain[500])
    assert torch.allclose(early[1], plain[900][1], atol=1e-6)


def test_without_guidance_the_positive_rows_alone_come(pipe):
    x, t, cond = batch(3)
    with row_gate(pipe.unet, ETA, DELTA) as gate:
        gate.set_columns([GuidanceWeights(omega=0, alpha=0, beta=1)], images_per_column=3)
        gated = predict(pipe, x, t, cond)
    with ETA.apply(pipe.unet):
        torch.testing.assert_close(gated, predict(pipe, x, t, cond), atol=1e-5, rtol=0)


def test_plain_guidance_without_offsets_is_bit_equal_to_no_gate(pipe):
    arguments = {"prompt": "a", "num_inference_steps": 3, "guidance_scale": 3.0, "output_type": "latent"}
    before = pipe(**arguments, generator=torch.Generator().manual_seed(0)).images
    with row_gate(pipe.unet, None, DELTA) as gate:
        gate.set_columns([GuidanceWeights(omega=2)], images_per_column=1)
        during = pipe(**arguments, generator=torch.Generator().manual_seed(0)).images
    assert torch.equal(before, during)


def test_the_network_is_itself_again_even_after_a_fault(pipe):
    x, t, cond = batch(2)
    before, state = predict(pipe, x, t, cond), {k: v.clone() for k, v in pipe.unet.state_dict().items()}
    with pytest.raises(RuntimeError, match="inside"), row_gate(pipe.unet, ETA, DELTA) as gate:
        gate.set_rows(torch.ones(2, 2))
        predict(pipe, x, t, cond)
        raise RuntimeError("inside")
    assert torch.equal(before, predict(pipe, x, t, cond))
    assert all(torch.equal(value, pipe.unet.state_dict()[name]) for name, value in state.items())
    assert not pipe.unet._forward_pre_hooks


def test_a_bfloat16_network_takes_a_float32_offset(pipe):
    pipe.unet.to(torch.bfloat16)
    x, t, cond = batch(2)
    with row_gate(pipe.unet, ETA, DELTA) as gate:
        gate.set_rows(torch.tensor([(1.0, 1.0), (1.0, 0.0)]))
        out = predict(pipe, x.bfloat16(), t, {k: v.bfloat16() for k, v in cond.items()})
    assert out.dtype is torch.bfloat16 and torch.isfinite(out).all()


def test_with_gradients_and_in_mixed_precision_the_gate_gives_the_same(pipe):
    """There it must not write into the layer's output, or cannot."""
    x, t, cond = batch(4)
    with row_gate(pipe.unet, ETA, DELTA) as gate:
        gate.set_columns([GuidanceWeights(omega=2, alpha=0.5, beta=1)], 2)
        quick = predict(pipe, x, t, cond)
        learning = FAMILY.predict(pipe.unet, x.requires_grad_(), t, cond)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = predict(pipe, x, t, cond)
    assert (quick - learning).abs().max() <= 1e-6
    learning.square().mean().backward()
    assert x.grad is not None and bool(x.grad.abs().sum() > 0)
    assert (quick - mixed.float()).abs().mean() <= 0.02 * quick.abs().mean()


def test_a_batch_the_table_does_not_fit_is_refused(pipe):
    x, t, cond = batch(3)
    with row_gate(pipe.unet, None, DELTA) as gate, pytest.raises(StudioError, match="2 rows for a batch of 3"):
        gate.set_columns([GuidanceWeights(omega=1, beta=1)], images_per_column=1)
        predict(pipe, x, t, cond)


def test_an_offset_of_another_model_is_refused_with_the_layer_named(pipe):
    strange = Offset({"no.such.layer": LowRankLayer(torch.zeros(1, 4), torch.zeros(4, 1))})
    with pytest.raises(StudioError, match="1 of the offset's 1 layers"), row_gate(pipe.unet, None, strange):
        pass
    wrong = Offset({DELTA.modules[0]: LowRankLayer(torch.zeros(1, 7), torch.zeros(5, 1))})
    with pytest.raises(StudioError, match="has shape"), row_gate(pipe.unet, None, wrong):
        pass
