"""The factor of an adapter's layer, alpha / rank, where the file says it and where its configuration does.

In this order: the layer's own `.alpha` (kohya, LyCORIS); the configuration in the header (diffusers' and the studio's
own); adapter_config.json beside the file (PEFT); else the factor is 1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.files import read_json, read_text

CONFIG = "adapter_config.json"
IN_HEADER = "adapter_config"
"""Our name for adapter_config.json in a header, where an imported file keeps it."""
DIFFUSERS = "lora_adapter_metadata"
_DEFAULT_ALPHA = 8  # PEFT's, for a configuration that leaves it out


SAT = {"lora_alpha": 1.0, "alpha_pattern": {}, "rank_pattern": {}}
"""The configuration of CogVideoX's own trainer, whose files do not say it: LoraMixin's default, which its settings keep."""


def config_beside(path: Path) -> dict[str, str]:
    """PEFT's configuration beside an adapter file, as metadata for its header; empty where there is none.

    Raises:
        StudioError: it cannot be read.
    """
    beside = path.with_name(CONFIG)
    if not path.name.startswith("adapter_model.") or not beside.is_file():
        return {}
    return {IN_HEADER: json.dumps(read_json(beside, dict))}


def config_of(metadata: Mapping[str, str], path: Path, *, peft: bool) -> dict[str, Any]:
    """The adapter's configuration as PEFT writes it; empty where the file has none.

    Args:
        path: the weights file.
        peft: its keys are PEFT's, so that a configuration beside it is its own.

    Raises:
        StudioError: there is one, and it cannot be read: its strength would be guessed.
    """
    text = metadata.get(IN_HEADER) or metadata.get(DIFFUSERS)
    if text is None and (peft or path.name.startswith("adapter_model.")):
        beside = path.with_name(CONFIG)
        text = read_text(beside) if beside.is_file() else None
    if text is None:
        return {}
    try:
        values = json.loads(text)
        if metadata.get(IN_HEADER) is None and DIFFUSERS in metadata:
            # one for each network of the pipeline, by a prefix
            own = {
                key.partition(".")[2]: value for key, value in values.items() if re.match(r"(unet|transformer)\.", key)
            }
            values = own or ({} if any("." in key for key in values) else values)
            if not values:
                return {}
        for key in ("lora_alpha", "alpha", "r"):
            if values.get(key) is not None:
                values[key] = float(values[key])
        for key in ("alpha_pattern", "rank_pattern"):
            values[key] = {re.compile(name).pattern: float(value) for name, value in (values.get(key) or {}).items()}
    except (ValueError, TypeError, AttributeError, RecursionError, re.error) as error:
        raise StudioError(
            "The adapter's configuration of “{name}” is damaged, so its strength is unknown.",
            "Fetch the file again, with its adapter_config.json.",
            name=path.name,
        ) from error
    return values


def check_rotation(config: Mapping[str, Any], name: str) -> None:
    """Whether PEFT's configuration says how its OFT computes Cayley's transform.

    Raises:
        StudioError: there is none, or it is of a version that computed it in another way.
    """
    if not config:
        raise StudioError(
            "“{name}” is PEFT's OFT without its adapter_config.json, which says how its rotations are computed.",
            "Name the folder that PEFT wrote, or put adapter_config.json beside the file.",
            name=name,
        )
    if config.get("use_cayley_neumann") and not config.get("peft_version"):
        raise StudioError(
            "“{name}” is OFT of PEFT before 0.18, which computed its rotations in another way.",
            "Merge it into its model with the PEFT that made it, and use `offset extract` on the result.",
            name=name,
        )


def scale_of(config: Mapping[str, Any], module: str, rank: int, alpha: float | None) -> float:
    """alpha / rank of a layer, or alpha / sqrt(rank) for rsLoRA (arXiv 2312.03732).

    Args:
        config: of `config_of`.
        module: by diffusers' name; PEFT's patterns are compared with its end.
        rank: of the layer's matrices; 0 where it has none: PEFT takes the configuration's, LyCORIS a factor of 1.
        alpha: of the layer itself, if it says one.
    """
    if alpha is not None:
        return alpha / rank if rank else 1.0
    if not config:
        return 1.0
    size = rank or _by_pattern(config["rank_pattern"], module, config.get("r", 0))
    alpha = _by_pattern(config["alpha_pattern"], module, config.get("lora_alpha", config.get("alpha", _DEFAULT_ALPHA)))
    if not size:
        return 1.0
    return alpha / size**0.5 if config.get("use_rslora") else alpha / size


def _by_pattern(patterns: Mapping[str, float], module: str, otherwise: float) -> float:
    """The value of the first pattern that the end of the module's name matches, as PEFT looks it up."""
    return next((value for pattern, value in patterns.items() if re.match(rf"(.*\.)?({pattern})$", module)), otherwise)
