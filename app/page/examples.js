// Example prompts and words go into the prompt; words that the model has never met are named under it.
(() => {
  const box = () => document.querySelector('#set-prompt textarea, #set-prompt input');
  const write = (text) => {
    const prompt = box();
    prompt.value = text;
    prompt.dispatchEvent(new Event('input', { bubbles: true }));
    prompt.focus();
  };
  window.npoWords = () => {
    const line = document.querySelector('#examples .unknown');
    if (!line || !box()) return;
    const known = new Set([...document.querySelectorAll('#examples .vocabulary')].map((one) => one.textContent));
    const words = (box().value.match(/\p{L}+(?:['-]\p{L}+)*/gu) || []).map((one) => one.toLowerCase());
    const unknown = [...new Set(words.filter((one) => !known.has(one)))];
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
