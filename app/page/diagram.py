"""The two arrows: where the positive and the negative prediction point, and where guidance goes. Drawn in the browser."""

from pathlib import Path

SCRIPT = Path(__file__).with_name("diagram.js").read_text(encoding="utf-8")
"""`npoDiagram(omega, alpha, beta, eta, form, quality, late)`: a drawing, not a measurement; the directions are those of the form's formula.
Reads `window.npoForms` of `app.page.guidance`."""

CSS = """
.npo-diagram { width: 100%; height: 118px; display: block; }
.npo-diagram line { stroke-width: 2.2; stroke-linecap: round; }
.npo-diagram .head { stroke: none; }
.npo-diagram .faint { stroke: var(--npo-faint); } .npo-diagram circle.faint { fill: var(--npo-faint); stroke: none; }
.npo-diagram line.faint { stroke-dasharray: 3 4; }
.npo-diagram .neg { stroke: var(--npo-bad); } .npo-diagram circle.neg, .npo-diagram text.neg { fill: var(--npo-bad); stroke: none; }
.npo-diagram line.neg { stroke-dasharray: 3 4; }
.npo-diagram .plain { stroke: var(--npo-faint); } .npo-diagram .head.plain, .npo-diagram text.plain { fill: var(--npo-soft); stroke: none; }
.npo-diagram .npo { stroke: var(--npo-accent); stroke-width: 3; } .npo-diagram .head.npo, .npo-diagram text.npo { fill: var(--npo-accent); stroke: none; }
.npo-diagram circle.pos { fill: var(--body-text-color); } .npo-diagram text { font-size: 12px; } .npo-diagram text.npo { font-weight: 600; }
.npo-diagram text.pos { fill: var(--body-text-color); }
"""
