// Where both predictions lie and where guidance goes. All points are scaled together, so directions stay true at any setting;
// labels step aside from one another and stay inside the frame.
window.npoDiagram = (omega, alpha, beta, eta, form, quality, late) => {
  omega = +omega; beta = +beta; quality = +quality;
  alpha = !eta || eta === 'none' ? 1 : +alpha;
  form = form in window.npoForms.uses ? form : 'npo';
  const W = 400, H = 118, PAD = 16;
  const P = [0, 0], N = [-56, 34];
  const plus = (a, b, times = 1) => [a[0] + times * b[0], a[1] + times * b[1]];
  const delta = [-14 * beta, 20 * beta], worse = [-14 * beta - 26 * (1 - alpha), 20 * beta - 16 * (1 - alpha)];
  // where the positive prediction lies, the one that the form moves away from, and where it ends
  const forms = {
    npo: () => [P, plus(N, worse), plus(P, plus(N, worse), -omega)],
    cfg: () => [P, N, plus(P, N, -omega)],
    autoguidance: () => [P, worse, plus(P, worse, -omega)],
    'three-terms': () => [P, worse, plus(plus(P, N, -omega), worse, -quality)],
    'both-branches': () => [plus(P, delta, -1), plus(N, delta, -1), plus(plus(P, delta, -1), N, -omega)],
  };
  const [start, neg, tip] = forms[form]();
  const points = { N, neg, P: start, plain: plus(P, N, -omega), npo: tip, zero: P };
  const xs = Object.values(points).map((p) => p[0]), ys = Object.values(points).map((p) => p[1]);
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const room = [W - 2 * PAD - 60, H - 2 * PAD - 8];
  const scale = Math.min(1, room[0] / Math.max(1, right - left), room[1] / Math.max(1, bottom - top));
  const shift = [(W - scale * (right - left)) / 2 - scale * left - 16, (H - scale * (bottom - top)) / 2 - scale * top];
  const at = Object.fromEntries(Object.entries(points).map(([name, p]) => [name, [p[0] * scale + shift[0], p[1] * scale + shift[1]]]));

  const f = (number) => number.toFixed(1);
  const line = (a, b, kind) => `<line class="${kind}" x1="${f(a[0])}" y1="${f(a[1])}" x2="${f(b[0])}" y2="${f(b[1])}"/>`;
  const arrow = (a, b, kind) => {
    const length = Math.hypot(b[0] - a[0], b[1] - a[1]);
    if (length < 2) return '';
    const u = [(b[0] - a[0]) / length, (b[1] - a[1]) / length], size = Math.min(9, length * 0.6);
    const tail = [b[0] - u[0] * size, b[1] - u[1] * size], side = [-u[1] * size * 0.45, u[0] * size * 0.45];
    return line(a, tail, kind) + `<path class="head ${kind}" d="M${f(b[0])} ${f(b[1])}L${f(tail[0] + side[0])} ${f(tail[1] + side[1])}L${f(tail[0] - side[0])} ${f(tail[1] - side[1])}Z"/>`;
  };
  const dot = (p, kind, r) => `<circle class="${kind}" cx="${f(p[0])}" cy="${f(p[1])}" r="${r}"/>`;

  const taken = Object.values(at).map((p) => [p[0] - 5, p[1] - 5, p[0] + 5, p[1] + 5]);
  const label = (p, text, kind) => {
    const width = 6.6 * text.length, height = 13;
    const places = [[8, 4], [-4 - width, 4], [-width / 2, -9], [-width / 2, 18], [8, -8], [8, 17], [-4 - width, -8], [-4 - width, 17], [18, -16], [18, 26]];
    const inside = (box) => box[0] >= 2 && box[1] >= 1 && box[2] <= W - 2 && box[3] <= H - 1;
    const free = (box) => !taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1]);
    const boxes = places.map(([dx, dy]) => [p[0] + dx, p[1] + dy - height + 3, p[0] + dx + width, p[1] + dy + 3]);
    const box = boxes.find((one) => inside(one) && free(one)) || boxes.find(inside) || boxes[0];
    taken.push(box);
    return `<text class="${kind}" x="${f(box[0])}" y="${f(box[3] - 3)}">${text}</text>`;
  };
  const names = label(at.npo, { npo: 'NPO', cfg: 'CFG', 'three-terms': 'CFG + s', 'both-branches': 'Neon', autoguidance: 'auto' }[form], 'npo') + (Math.hypot(at.npo[0] - at.plain[0], at.npo[1] - at.plain[1]) < 3 ? '' : label(at.plain, 'CFG', 'plain'))
    + label(at.P, '+', 'pos') + label(at.neg, '\u2212', 'neg');
  document.body.classList.toggle('with-eta', !!eta && eta !== 'none');
  const uses = new Set([...window.npoForms.uses[form], ...(window.npoForms.uses[late] || [])]);
  Object.assign(document.body.dataset, { form, late: late || 'same', uses: [...uses].join(' '), dosed: window.npoForms.dosed.includes(form) ? 'yes' : 'no' });
  return `<svg class="npo-diagram" viewBox="0 0 ${W} ${H}" role="img" aria-label="guidance ${form} with omega ${omega}, alpha ${alpha}, beta ${beta}">
    ${line(at.N, at.zero, 'faint')}${line(at.neg, at.P, 'neg')}${arrow(at.zero, at.plain, 'plain')}${arrow(at.P, at.npo, 'npo')}
    ${dot(at.N, 'faint', 3.5)}${dot(at.neg, 'neg', 4.5)}${dot(at.P, 'pos', 4.5)}${names}</svg>`;
};
window.npoScale = (omega) => `<div class="scale-note">\u03c9 ${+(+omega).toFixed(2)} = CFG <b>${+(+omega + 1).toFixed(2)}</b></div>`;

// The dose is what was last set: of beta by a person or by settings from elsewhere, not of a beta that followed omega.
window.npoKept = { beta: null, dose: 0, held: null };
window.npoBeta = (omega, dose) => +dose > 0 && +omega > 0 ? Math.min(1, Math.round(100 * window.npoForms.proposed / (omega * dose)) / 100) : 0;
window.npoProposed = (omega, beta, form, dose) => {
  if (+beta !== window.npoKept.beta && +beta !== window.npoKept.held) window.npoKept.dose = omega * beta;
  window.npoKept.beta = +beta;
  const proposes = +dose > 0 && window.npoForms.dosed.includes(form);
  if (proposes) document.body.dataset.dose = dose; else delete document.body.dataset.dose;
  return proposes ? `<div class="scale-note">dose ${(+dose).toFixed(2)}, \u03c9 ${+(+omega).toFixed(2)} \u2192 \u03b2 <b>${window.npoBeta(omega, dose)}</b></div>` : '';
};
window.npoHold = (omega, beta, hold, form) => {
  if (!hold || !(omega > 0) || !window.npoForms.dosed.includes(form)) return beta;
  const [low, high] = window.npoForms.beta;
  window.npoKept.held = Math.min(high, Math.max(low, Math.round(1000 * window.npoKept.dose / omega) / 1000));
  return window.npoKept.held;
};
