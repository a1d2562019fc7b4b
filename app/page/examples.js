// Example prompts and words go into the prompt; words that the model has never met are underlined there, and named under it.
(() => {
  const box = () => document.querySelector('#set-prompt textarea, #set-prompt input');
  const write = (text) => {
    const prompt = box();
    prompt.value = text;
    prompt.dispatchEvent(new Event('input', { bubbles: true }));
    prompt.focus();
  };
  const WORD = /\p{L}+(?:['-]\p{L}+)*/gu;
  const SAME = ['font', 'lineHeight', 'letterSpacing', 'wordSpacing', 'textIndent', 'padding', 'borderWidth', 'boxSizing', 'tabSize'];
  const underline = (isUnknown) => {
    // a text field cannot underline words: its text once more on top of it, transparent but for the lines
    const prompt = box();
    const place = prompt.closest('#set-prompt');
    let mirror = place.querySelector('.npo-mirror');
    if (!mirror) {
      mirror = document.createElement('div');
      mirror.className = 'npo-mirror';
      mirror.setAttribute('aria-hidden', 'true');
      place.append(mirror);
      place.style.position = 'relative';
      prompt.addEventListener('scroll', () => { mirror.scrollTop = prompt.scrollTop; });
      new ResizeObserver(() => window.npoWords()).observe(prompt);
    }
    const style = getComputedStyle(prompt), at = prompt.getBoundingClientRect(), from = place.getBoundingClientRect();
    for (const name of SAME) mirror.style[name] = style[name];
    Object.assign(mirror.style, {
      left: `${at.left - from.left - place.clientLeft}px`, top: `${at.top - from.top - place.clientTop}px`,
      width: `${at.width}px`, height: `${at.height}px`,
    });
    mirror.replaceChildren();
    let done = 0;
    for (const match of prompt.value.matchAll(WORD)) {
      if (!isUnknown(match[0].toLowerCase())) continue;
      const marked = document.createElement('u');
      marked.textContent = match[0];
      mirror.append(prompt.value.slice(done, match.index), marked);
      done = match.index + match[0].length;
    }
    mirror.append(prompt.value.slice(done));
    mirror.scrollTop = prompt.scrollTop;
  };
  window.npoWords = () => {
    const line = document.querySelector('#examples .unknown');
    if (!box()) return;
    if (!line) return underline(() => false);
    const known = new Set([...document.querySelectorAll('#examples .vocabulary')].map((one) => one.textContent));
    const words = (box().value.match(WORD) || []).map((one) => one.toLowerCase());
    const unknown = [...new Set(words.filter((one) => !known.has(one)))];
    underline((one) => !known.has(one));
    line.replaceChildren();
    if (!unknown.length) return;
    line.append(line.dataset.sentence, ' ');
    unknown.slice(0, 8).forEach((one, n) => {
      const marked = document.createElement('u');
      marked.textContent = one.slice(0, 40);
      line.append(n ? ', ' : '', marked);
    });
  };
  document.addEventListener('click', (event) => {
    const button = event.target.closest && event.target.closest('#examples button');
    if (!button) return;
    if (button.classList.contains('example')) write(button.textContent);
    else write(`${box().value.trim()} ${button.textContent}`.trim());
    window.npoWords();
  });
  document.addEventListener('input', (event) => { if (event.target === box()) window.npoWords(); });
})();
