"""Precision, recall and diversity, on clouds of points of which they are known."""

import pytest
import torch

from core.evaluation.distribution import diversity, precision_recall


def cloud(count, seed, scale=1.0, shift=0.0):
    return scale * torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)) + shift


def test_the_same_distribution_is_precise_and_whole():
    precision, recall = precision_recall(cloud(400, 0), cloud(400, 1))
    assert precision > 0.7 and recall > 0.7
    assert precision_recall(cloud(50, 0), cloud(50, 0)) == (1.0, 1.0)


def test_collapse_is_seen_in_recall_and_strangeness_in_precision():
    reference = cloud(400, 0)
    precision, recall = precision_recall(cloud(400, 1, scale=0.2), reference)
    assert precision > 0.9 and recall < 0.2, "few kinds of picture, all of them good"
    precision, recall = precision_recall(cloud(400, 1, shift=20.0), reference)
    assert (precision, recall) == (0.0, 0.0)


def test_blocks_do_not_change_the_figures(monkeypatch):
    pictures, reference = cloud(60, 2, scale=1.5), cloud(50, 3)
    whole = precision_recall(pictures, reference)
    monkeypatch.setattr("core.evaluation.distribution.BLOCK", 7)
    assert precision_recall(pictures, reference) == whole


def test_too_few_pictures_are_refused():
    with pytest.raises(ValueError, match="more than 3"):
        precision_recall(cloud(3, 0), cloud(10, 1))


def test_diversity_is_the_mean_distance_between_the_seeds_of_a_prompt():
    features = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0], [1.0, 1.0]])
    assert diversity(features, 2).tolist() == [5.0, 0.0]
    three = torch.tensor([[0.0], [1.0], [3.0]])
    assert diversity(three, 3).item() == pytest.approx((1 + 3 + 2) / 3)
