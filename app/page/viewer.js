// Enlarges the pairs of a board: side by side, slider or flicker; zoom and pan act on all pictures of a pair together.
(() => {
  let cards = [], at = 0, mode = 'pairs', zoom = 1, x = 0, y = 0, drag = null, opener = null;
  const dialog = () => document.getElementById('viewer');
  const room = () => dialog().querySelector('.room');

  const place = () => {
    if (zoom <= 1) { zoom = 1; x = 0; y = 0; }
    room().style.setProperty('--zoom', zoom);
    room().style.setProperty('--x', `${x}px`);
    room().style.setProperty('--y', `${y}px`);
  };
  const copy = (cell) => {
    const image = cell.querySelector('img');
    if (image.dataset.video) {
      const video = Object.assign(document.createElement('video'), { src: image.dataset.video, controls: true, loop: true, muted: true, autoplay: true });
      video.setAttribute('playsinline', '');
      return video;
    }
    return Object.assign(document.createElement('img'), { src: image.src, alt: image.alt, draggable: false });
  };
  const layer = (cell, kind) => {
    const box = Object.assign(document.createElement('div'), { className: kind });
    box.append(copy(cell));
    return box;
  };
  const tagged = (name, kind) => Object.assign(document.createElement('span'), { className: `tag ${kind}`, textContent: name });

  const draw = () => {
    const card = cards[at];
    const cells = [...card.querySelectorAll('.cell')];
    const stage = document.createElement('div');
    const two = cells.length > 1 && !cells.some((cell) => cell.querySelector('[data-video]'));
    const shown = two ? mode : 'pairs';
    stage.className = `stage ${shown}`;
    stage.style.setProperty('--cells', cells.length);
    const first = cells[0], last = cells[cells.length - 1];
    const name = (cell) => cell.querySelector('.tag').textContent;
    if (shown === 'pairs') {
      for (const cell of cells) {
        const frame = Object.assign(document.createElement('div'), { className: 'frame' });
        frame.append(copy(cell), tagged(name(cell), ''));
        stage.append(frame);
      }
    } else if (shown === 'slide') {
      stage.style.setProperty('--cut', '50%');
      const over = layer(first, 'layer over');
      const line = Object.assign(document.createElement('input'), { type: 'range', min: 0, max: 100, value: 50, ariaLabel: 'line' });
      stage.append(layer(last, 'layer'), over, tagged(name(first), 'left'), tagged(name(last), 'right'), line);
    } else {
      for (const [kind, cell] of [['one', first], ['two', last]]) {
        const image = copy(cell);
        image.className = kind;
        stage.append(image, tagged(name(cell), kind));
      }
    }
    room().replaceChildren(stage);
    dialog().querySelector('.title').textContent = card.querySelector('figcaption span').textContent;
    dialog().querySelector('.under').textContent = card.title;
    dialog().querySelectorAll('[data-do]').forEach((button) => button.setAttribute('aria-pressed', button.dataset.do === shown));
    place();
  };
  const go = (by) => { at = (at + by + cards.length) % cards.length; draw(); };
  const closer = (factor) => { zoom = Math.min(12, zoom * factor); place(); };
  const actions = {
    previous: () => go(-1), next: () => go(1), pairs: () => { mode = 'pairs'; draw(); }, slide: () => { mode = 'slide'; draw(); },
    flicker: () => { mode = 'flicker'; draw(); }, closer: () => closer(1.5), farther: () => closer(1 / 1.5), fit: () => { zoom = 1; place(); },
    full: () => (document.fullscreenElement ? document.exitFullscreen() : dialog().requestFullscreen()), close: () => dialog().close(),
  };

  const open = (card, wanted) => {
    cards = [...card.closest('.board').querySelectorAll('.pair')];
    at = cards.indexOf(card);
    mode = wanted;
    zoom = 1;
    opener = document.activeElement;
    draw();
    dialog().showModal();
  };

  // the slider and the flicker show the chosen pair, of the board or of the history
  const openStage = (stage) => {
    const shown = stage.querySelector('img').getAttribute('src');
    const card = [...document.querySelectorAll('#sides .pair, #history .pair')].find((one) => [...one.querySelectorAll('img')].some((image) => image.getAttribute('src') === shown));
    if (card) open(card, stage.classList.contains('flicker') ? 'flicker' : 'slide');
  };

  document.addEventListener('click', (event) => {
    const target = event.target;
    if (!target.closest) return;
    const button = target.closest('#viewer [data-do]');
    if (button) actions[button.dataset.do]();
    else if (target.closest('.stage .enlarge')) openStage(target.closest('.stage'));
    else if (target.closest('.enlarge')) open(target.closest('.pair'), 'pairs');
  });
  document.addEventListener('dblclick', (event) => {
    const cell = event.target.closest && event.target.closest('.board .cell');
    if (cell) open(cell.closest('.pair'), 'pairs');
    const stage = event.target.closest && event.target.closest('.stage[data-pair]');
    if (stage) openStage(stage);
  });
  document.addEventListener('input', (event) => {
    const stage = event.target.closest && event.target.closest('.stage.slide');
    if (stage) stage.style.setProperty('--cut', `${event.target.value}%`);
  });
  document.addEventListener('keydown', (event) => {
    const box = dialog();
    if (!box || !box.open) {
      const cell = event.target.closest && event.target.closest('.board .cell');
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!cell || !step) return;
      const all = [...cell.closest('.board').querySelectorAll('.cell')];
      const other = all[all.indexOf(cell) + step];
      if (other) { event.preventDefault(); other.focus(); other.click(); }
      return;
    }
    if (event.target.type === 'range') return;
    const action = { ArrowLeft: 'previous', ArrowRight: 'next', '+': 'closer', '-': 'farther', 0: 'fit', 1: 'pairs', 2: 'slide', 3: 'flicker', f: 'full' }[event.key];
    if (action) { event.preventDefault(); actions[action](); }
  });
  document.addEventListener('wheel', (event) => {
    if (!event.target.closest || !event.target.closest('#viewer .room')) return;
    event.preventDefault();
    closer(event.deltaY < 0 ? 1.2 : 1 / 1.2);
  }, { passive: false });
  document.addEventListener('pointerdown', (event) => {
    if (event.target.closest && event.target.closest('#viewer .room') && event.target.tagName !== 'INPUT' && event.target.tagName !== 'VIDEO') {
      drag = [event.clientX - x, event.clientY - y];
    }
  });
  document.addEventListener('pointermove', (event) => {
    if (!drag) return;
    [x, y] = [event.clientX - drag[0], event.clientY - drag[1]];
    place();
  });
  document.addEventListener('pointerup', () => { drag = null; });
})();
