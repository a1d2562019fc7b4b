"""Attention of the scorers' networks, which are transformers' own: SDPA or, to compare with, the matrix written out.

xformers has no form in them: a scorer keeps SDPA then.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel

_NAMES = {"sdpa": "sdpa", "plain": "eager"}


def _networks(scorer: Any) -> list[PreTrainedModel]:
    """transformers' networks of a scorer; none of the bundled judges', which have no attention."""
    root = getattr(scorer, "network", None) or getattr(getattr(scorer, "encoder", None), "model", None)
    return [part for part in root.modules() if isinstance(part, PreTrainedModel)] if isinstance(root, nn.Module) else []


def put_in_scorer(scorer: Any, name: str) -> None:
    """Lets a scorer's networks compute attention by "sdpa" or "plain"; any other name changes nothing."""
    for network in _networks(scorer):
        if name in _NAMES:
            network.set_attn_implementation(_NAMES[name])


def in_scorer(scorer: Any) -> set[str]:
    """The implementations that really are in place, by the names of `core.families.attention`."""
    ours = {theirs: own for own, theirs in _NAMES.items()}
    names = {str(network.config._attn_implementation) for network in _networks(scorer)}
    return {ours.get(name, name) for name in names}
