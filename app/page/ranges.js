// A number outside its range is named at its field, while it is typed; the sentence goes when the number is right.
(() => {
  const about = (input) => {
    const box = input.closest && input.closest('[id^="set-"]');
    return box && window.npoRanges[box.id.slice(4)] ? [box, window.npoRanges[box.id.slice(4)]] : [];
  };
  window.npoCheck = (input) => {
    const [box, range] = about(input);
    if (!box) return true;
    const right = input.value === '' || (+input.value >= range.low && +input.value <= range.high && (!range.whole || Number.isInteger(+input.value)));
    let line = box.querySelector('.out-of-range');
    if (right) { if (line) line.remove(); } else {
      if (!line) {
        line = Object.assign(document.createElement('p'), { className: 'out-of-range', id: `${box.id}-range` });
        line.setAttribute('role', 'alert');
        box.append(line);
      }
      line.textContent = ((navigator.language || 'en').startsWith('zh') ? range.chinese : range.english).replace('{value}', input.value.slice(0, 24));
    }
    input.toggleAttribute('aria-invalid', !right);
    if (right) input.removeAttribute('aria-describedby'); else input.setAttribute('aria-describedby', line.id);
    return right;
  };
  document.addEventListener('input', (event) => { if (event.target.type === 'number') window.npoCheck(event.target); }, true);
})();
