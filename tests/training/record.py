"""`python -m tests.training.record [--exact]`: the losses of every variant, recorded or compared to the bit.

They were recorded from version 0.2, before training was divided into rooms; those of `images` from version 0.3, which scales
pictures with Lanczos. Bits depend on the processor and on torch:
the suite compares within a tolerance, `--exact` compares the bits on the machine that recorded them.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch

from tests.training.variants import VARIANTS, losses, run, settings_of

FILE = Path(__file__).with_name("recorded_losses.json")


def measured() -> dict[str, list[list[str | int]]]:
    """Variant to [step, loss, gradient norm] of each of its steps."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recorded = {v: losses(run(folder / f"{n}", settings_of(v, folder))) for n, v in enumerate(VARIANTS)}
    return {variant: [list(step) for step in steps] for variant, steps in recorded.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    now = measured()
    if "--exact" in sys.argv:
        kept = json.loads(FILE.read_text(encoding="utf-8"))
        different = [variant for variant in now if now[variant] != kept.get(variant)]
        print(f"{len(now) - len(different)} of {len(now)} variants are equal to the bit; different: {different}")
        sys.exit(bool(different))
    FILE.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
