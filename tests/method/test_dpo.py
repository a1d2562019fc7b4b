"""The loss of Diffusion-DPO against its formula, its symmetry, and where it pushes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.method.dpo import dpo_loss

ERRORS = st.lists(st.floats(0.01, 2), min_size=3, max_size=3)


def tensors(*values):
    return (torch.tensor(each, dtype=torch.float64) for each in values)


@given(ERRORS, ERRORS, ERRORS, ERRORS, st.floats(0.1, 50))
def test_it_is_the_logistic_loss_of_the_difference_of_gains(w, other, w_ref, other_ref, beta):
    expected = 0.0
    for a, b, c, d in zip(w, other, w_ref, other_ref, strict=True):
        inside = -beta * ((a - c) - (b - d))
        expected += math.log1p(math.exp(-inside)) if inside > -30 else -inside + math.log1p(math.exp(inside))
    assert float(dpo_loss(*tensors(w, other, w_ref, other_ref), beta)) == pytest.approx(
        expected / 3, rel=1e-9, abs=1e-12
    )


def test_the_reference_itself_costs_log_two():
    w, other = tensors([0.3, 0.4], [0.1, 0.9])
    assert float(dpo_loss(w, other, w, other, 5000.0)) == pytest.approx(math.log(2))


def test_the_gradient_lowers_one_error_and_raises_the_other_by_the_closed_form():
    w, other, w_ref, other_ref = tensors([0.3, 0.5], [0.2, 0.4], [0.31, 0.5], [0.2, 0.45])
    w.requires_grad_(True)
    other.requires_grad_(True)
    dpo_loss(w, other, w_ref, other_ref, 10.0).backward()
    # d L / d e_w = beta sigmoid(beta (gain_w - gain_l)) / pairs, and the opposite for e_l
    expected = 10.0 * torch.sigmoid(10.0 * ((w - w_ref) - (other - other_ref))).detach() / 2
    torch.testing.assert_close(w.grad, expected)
    torch.testing.assert_close(other.grad, -expected)


def test_reversed_it_is_the_loss_of_the_swapped_pairs():
    w, other, w_ref, other_ref = tensors([0.3, 0.5], [0.2, 0.4], [0.31, 0.5], [0.2, 0.45])
    forward, back = dpo_loss(w, other, w_ref, other_ref, 100.0), dpo_loss(other, w, other_ref, w_ref, 100.0)
    # log sigmoid(z) - log sigmoid(-z) = z
    torch.testing.assert_close(forward - back, 100.0 * ((w - w_ref) - (other - other_ref)).mean())
