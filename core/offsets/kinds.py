"""Which tensors make which kind of adapter; what they do to a weight is `core.offsets.formulas`. No torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple


class Kind(NamedTuple):
    """The tensors of one kind of adapter: those that it must have, and those that it may have."""

    name: str
    required: frozenset[str]
    optional: frozenset[str]


def _kind(name: str, required: str, optional: str = "") -> Kind:
    return Kind(name, frozenset(required.split()), frozenset(optional.split()))


KINDS = (
    _kind("LoRA", "down up", "alpha mid dora_scale up_bias"),
    _kind("LoHa", "hada_w1_a hada_w1_b hada_w2_a hada_w2_b", "hada_t1 hada_t2 alpha dora_scale"),
    _kind("LoKr", "lokr_w1 lokr_w2", "alpha dora_scale"),
    _kind("LoKr", "lokr_w1 lokr_w2_a lokr_w2_b", "lokr_t2 alpha dora_scale"),
    _kind("LoKr", "lokr_w1_a lokr_w1_b lokr_w2", "alpha dora_scale"),
    _kind("LoKr", "lokr_w1_a lokr_w1_b lokr_w2_a lokr_w2_b", "lokr_t2 alpha dora_scale"),
    _kind("OFT", "oft_blocks", "alpha rescale"),
    _kind("OFT", "oft_R"),
    _kind("BOFT", "boft_R boft_s"),
    _kind("GLoRA", "a1 a2 b1 b2", "alpha bm"),
    _kind("IA3", "ia3_weight on_input"),
    _kind("IA3", "ia3_l"),
)
EXTRAS = frozenset(("diff", "diff_b", "w_norm", "b_norm", "value_weight", "value_bias"))
"""Whole changes, and whole values (`value_`) whose difference from the base is the change; beside any kind, or alone."""


def kind_of_layer(parts: Collection[str]) -> str | None:
    """The kind of a layer's tensors, "dense" where it has whole changes alone; None where they are no complete kind."""
    own = frozenset(parts) - EXTRAS
    if not own:
        return "dense" if parts else None
    kind = next((kind for kind in KINDS if kind.required <= own <= kind.required | kind.optional), None)
    if kind is None or ("hada_t1" in own) != ("hada_t2" in own):
        return None
    return "DoRA" if "dora_scale" in own else kind.name


def needs_base(parts: Collection[str]) -> bool:
    """Whether the change depends on the base's weight or on its shape."""
    return kind_of_layer(parts) not in ("LoRA", "dense") or bool({"value_weight", "value_bias"} & set(parts))


def rank_of(parts: Mapping[str, tuple[int, ...]]) -> int:
    """The rank of a layer by the shapes of its tensors; 0 where its kind has none."""
    for name, axis in (("down", 0), ("hada_w1_b", 0), ("lokr_w1_b", 0), ("lokr_w2_b", 0)):
        if name in parts:
            return parts[name][axis]
    return 0
