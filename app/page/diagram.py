"""The two arrows: where the positive and the negative prediction point, and where guidance goes. Drawn in the browser."""

SCRIPT = """
window.npoDiagram = (omega, alpha, beta) => {
  omega = +omega; alpha = +alpha; beta = +beta;
  const P = [196, 58], N = [140, 92];
  const bad = [N[0] - 14 * beta, N[1] + 20 * beta];
  const neg = [bad[0] + (1 - alpha) * -26, bad[1] + (1 - alpha) * -16];
  const grow = 0.9 * omega / (1 + 0.22 * omega);
  const clip = (p) => [Math.max(8, Math.min(352, p[0])), Math.max(10, Math.min(150, p[1]))];
  const end = (n) => clip([P[0] + grow * (P[0] - n[0]) * 0.62, P[1] + grow * (P[1] - n[1]) * 0.62]);
  const plain = end(N), npo = end(neg), n2 = clip(neg);
  const line = (a, b, cls) => `<line class="${cls}" x1="${a[0]}" y1="${a[1]}" x2="${b[0]}" y2="${b[1]}"/>`;
  const dot = (p, cls, r) => `<circle class="${cls}" cx="${p[0]}" cy="${p[1]}" r="${r}"/>`;
  const text = (p, dx, dy, s, cls) => `<text class="${cls}" x="${p[0] + dx}" y="${p[1] + dy}">${s}</text>`;
  return `<svg class="npo-diagram" viewBox="0 0 360 160" role="img" aria-label="guidance with omega ${omega}, alpha ${alpha}, beta ${beta}">
    <defs><marker id="npo-a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
      <path d="M0 0 8 4 0 8Z"/></marker></defs>
    ${line(N, P, 'faint')}${line(n2, P, 'neg')}
    ${line(P, plain, 'plain')}${line(P, npo, 'npo')}
    ${dot(N, 'faint', 4)}${dot(n2, 'neg', 5)}${dot(P, 'pos', 5)}
    ${text(P, -6, -9, '+', 'pos')}${text(n2, -20, 15, '\\u2212 \\u03b8+\\u03b1\\u03b7+\\u03b2\\u03b4', 'neg')}
    ${text(plain, 5, 13, 'CFG', 'plain')}${text(npo, 5, -5, 'NPO', 'npo')}</svg>`;
};
window.npoScale = (omega) => `<div class="scale-note">\\u03c9 ${+(+omega).toFixed(2)} = CFG <b>${+(+omega + 1).toFixed(2)}</b></div>`;
"""
"""`npoDiagram(omega, alpha, beta)`: a drawing, not a measurement; the directions are those of the formula."""

DRAW = "(o, a, b) => [window.npoDiagram(o, a, b), window.npoScale(o)]"

CSS = """
.npo-diagram { width: 100%; max-height: 150px; }
.npo-diagram line { stroke-width: 2.4; marker-end: url(#npo-a); }
.npo-diagram path { fill: #8a8fa3; }
.npo-diagram line.faint { stroke: #8a8fa366; stroke-dasharray: 3 3; marker-end: none; }
.npo-diagram line.neg { stroke: #d14343; marker-end: none; }
.npo-diagram line.plain { stroke: #8a8fa3; }
.npo-diagram line.npo { stroke: #0d9488; stroke-width: 3; }
.npo-diagram circle.faint { fill: #8a8fa3; } .npo-diagram circle.neg { fill: #d14343; } .npo-diagram circle.pos { fill: #4f46e5; }
.npo-diagram text { font-size: 12px; fill: currentColor; } .npo-diagram text.neg { fill: #d14343; }
.npo-diagram text.npo { fill: #0d9488; font-weight: 600; } .npo-diagram text.pos { font-size: 17px; fill: #4f46e5; }
"""
