// The language that a person chose in Settings: for the page's own texts, and told to the server with each question.
(() => {
  const chosen = localStorage.getItem('self-npo-language') || '';
  window.npoLanguage = () => chosen || navigator.language || 'en';
  window.npoChoose = (language) => {
    if (language === chosen) return;
    if (language) localStorage.setItem('self-npo-language', language); else localStorage.removeItem('self-npo-language');
    location.reload();
  };
  if (!chosen) return;
  Object.defineProperty(navigator, 'language', { get: () => chosen });
  Object.defineProperty(navigator, 'languages', { get: () => [chosen] });
  const ask = window.fetch.bind(window);
  window.fetch = (what, how = {}) => {
    const headers = new Headers(how.headers || (what instanceof Request ? what.headers : undefined));
    headers.set('accept-language', chosen);
    return ask(what, { ...how, headers });
  };
  document.documentElement.lang = chosen;
})();
