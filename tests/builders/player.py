"""An engine that plays prepared events: what a rendering tells the page, without a rendering."""

from PIL import Image

from core.generation.media import save_png
from core.studio.comparing.events import Estimate, Note, Sampling, Saved, Waiting


class Player:
    """An engine that plays prepared events instead of rendering."""

    cpu, warming = True, ""

    def __init__(self, workspace, fault=None, seconds=8.0, judge=None):
        self.workspace, self.fault, self.seconds = workspace, fault, seconds
        self.judge = judge or {}
        self.asked = []

    def outputs(self):
        return self.workspace.outputs

    def compare(self, comparison, *, cancelled=lambda: False):
        self.asked.append(comparison)
        if self.fault:
            raise self.fault
        yield Waiting("Loading {name}.", "miniature-sd15")
        if cancelled():
            return
        rough = tuple(Image.new("RGB", (8, 8), "red") for _ in comparison.columns for _ in comparison.seeds)
        yield Sampling(1, 2, tuple(range(len(comparison.columns))), comparison.seeds, rough)
        yield Sampling(2, 2, tuple(range(len(comparison.columns))), comparison.seeds, rough, 2.0)
        for column, weights in enumerate(comparison.columns):
            for seed in comparison.seeds:
                path = self.workspace.outputs / f"20260101-{len(self.asked) - 1:06}-abcdef-{column}-{seed}.png"
                settings = {"prompt": comparison.prompt, "seed": seed, "model": comparison.base, "size": "64x64"}
                settings |= {"omega": weights.omega, "alpha": weights.alpha, "beta": weights.beta, "steps": 2}
                if comparison.prompt in self.judge:
                    settings["judge"] = self.judge[comparison.prompt]
                save_png(Image.new("RGB", (64, 64), "green"), path, settings)
                yield Saved(column, seed, path, settings, path)
        yield Note("The prompt is cut.")

    def estimate(self, comparison):
        return Estimate(comparison.row_forwards, self.seconds, None, 0, 0)
