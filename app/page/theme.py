"""The looks of the page: its font, colours and spacing, and the scripts of its head. No font is fetched."""

import base64
from pathlib import Path

import gradio as gr

from app.page import compare, diagram, evaluate, examples, grid, guidance, ranges, views
from core.studio.workspace import ASSETS

FONTS = ["Studio", "ui-sans-serif", "system-ui", "Segoe UI", "Helvetica Neue", "Noto Sans", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]

ACCENT = gr.themes.Color(
    c50="#eefaf7",
    c100="#d3f2ea",
    c200="#a9e4d7",
    c300="#75cfbf",
    c400="#3fb3a2",
    c500="#0f766e",
    c600="#0d6a63",
    c700="#0c5852",
    c800="#0b4743",
    c900="#0a3a37",
    c950="#052321",
    name="npo",
)
"""Teal, the colour of the arrow that NPO draws."""

THEME = gr.themes.Base(
    primary_hue=ACCENT,
    secondary_hue=ACCENT,
    neutral_hue="zinc",
    font=FONTS,
    font_mono=MONO,
    radius_size=gr.themes.sizes.radius_md,
    spacing_size=gr.themes.sizes.spacing_sm,
    text_size=gr.themes.sizes.text_sm,
).set(
    body_background_fill="#f3f3f0",
    body_background_fill_dark="#101113",
    body_text_color="#1a1b1e",
    body_text_color_dark="#ececee",
    body_text_color_subdued="#5c5f66",
    body_text_color_subdued_dark="#a3a6ad",
    background_fill_primary="#ffffff",
    background_fill_primary_dark="#18191c",
    background_fill_secondary="#f3f3f0",
    background_fill_secondary_dark="#101113",
    block_background_fill="#ffffff",
    block_background_fill_dark="#18191c",
    block_border_color="#e4e4df",
    block_border_color_dark="#292a2f",
    border_color_primary="#e4e4df",
    border_color_primary_dark="#292a2f",
    block_shadow="none",
    block_label_text_size="*text_sm",
    block_title_text_size="12.5px",
    block_title_text_weight="500",
    block_title_text_color="#33353a",
    block_title_text_color_dark="#d7d8dc",
    block_info_text_size="11.5px",
    block_info_text_color="#5c5f66",
    block_info_text_color_dark="#a3a6ad",
    block_padding="10px 12px",
    input_background_fill="#f6f6f3",
    input_background_fill_dark="#202125",
    input_border_color="#e4e4df",
    input_border_color_dark="#303238",
    input_border_width="1px",
    input_radius="8px",
    block_radius="12px",
    button_primary_background_fill="#0f766e",
    button_primary_background_fill_hover="#0c5f58",
    button_primary_background_fill_dark="#0f766e",
    button_primary_background_fill_hover_dark="#12877e",
    button_primary_text_color="#ffffff",
    button_secondary_background_fill="#e9e9e5",
    button_secondary_background_fill_hover="#dfdfda",
    button_secondary_background_fill_dark="#2b2d32",
    button_secondary_background_fill_hover_dark="#383a40",
    button_secondary_text_color="#1a1b1e",
    button_secondary_text_color_dark="#ececee",
    slider_color="#0f766e",
    slider_color_dark="#3fb3a2",
)

CSS = (
    Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    + diagram.CSS
    + guidance.CSS
    + views.CSS
    + grid.CSS
    + evaluate.CSS
)


def _face(name: str, span: str) -> str:
    """A part of the bundled font as a style rule that carries it: nothing is fetched, and no path is in the page."""
    font = base64.b64encode((ASSETS / "fonts" / name).read_bytes()).decode("ascii")
    return (
        f"@font-face{{font-family:'Studio';font-weight:100 900;font-display:swap;unicode-range:{span};"
        f"src:url(data:font/woff2;base64,{font}) format('woff2')}}"
    )


FACES = _face("page-latin.woff2", "U+0020-00FF,U+2013-2032,U+20AC,U+2122,U+2190-2193,U+2212,U+2215") + _face(
    "page-greek.woff2", "U+0391-03C9"
)
FRAME = FACES + Path(__file__).with_name("frame.css").read_text(encoding="utf-8")
"""What lies outside the components: Gradio scopes CSS to its own containers, so this goes into the page's head."""


NAMED = """
new MutationObserver(() => document.querySelectorAll('.empty[aria-label]:not([role])').forEach(
  (e) => e.setAttribute('role', 'img'))).observe(document, { childList: true, subtree: true });
"""
"""An empty component has a name and no role, which a screen reader may not read: it is given one."""

DROPPED = """
document.addEventListener('dragover', (e) => { if (e.dataTransfer && e.dataTransfer.types.includes('Files')) e.preventDefault(); });
document.addEventListener('drop', (e) => {
  const own = e.target.closest && e.target.closest('[data-testid], .image-container, .upload-container, .block input[type=file]');
  const file = e.dataTransfer && e.dataTransfer.files[0];
  const input = document.querySelector('#dropped input[type=file]');
  if (!file || !input || (own && own.querySelector && own.querySelector('input[type=file]')) || !/[.](png|jpe?g|webp|mp4)$/i.test(file.name)) return;
  e.preventDefault();
  const carried = new DataTransfer();
  carried.items.add(file);
  input.files = carried.files;
  input.dispatchEvent(new Event('change', { bubbles: true }));
});
"""
"""A picture or video dropped beside every drop field goes to the one that reads its settings into Compare."""

KEYS = """
document.addEventListener('keydown', (e) => {
  if (e.key === 'Enter' && (e.ctrlKey || e.metaKey) && !e.isComposing) {
    const button = [...document.querySelectorAll('#render, #render-grid')].find((one) => one.offsetParent && !one.disabled);
    if (button) { e.preventDefault(); button.click(); }
  }
  if (e.key === 'Escape') document.querySelector('#cancel-proposal')?.click();
});
"""
"""Ctrl+Enter and Cmd+Enter render; Escape closes the dialog of settings from elsewhere."""

AT_ONCE = """
document.addEventListener('click', (e) => {
  const button = e.target.closest && e.target.closest('#render');
  if (!button || button.disabled) return;
  button.classList.add('pressed');
  new MutationObserver((_, me) => { button.classList.remove('pressed'); me.disconnect(); }).observe(button, { childList: true, characterData: true, subtree: true, attributeFilter: ['disabled'] });
  if (matchMedia('(max-width: 640px)').matches) document.getElementById('results').scrollIntoView({ behavior: 'smooth' });
}, true);
"""
"""Render answers before the server does; on a phone the page goes to the results."""

LISTS = """
document.addEventListener('focusout', (e) => {
  const field = e.target;
  if (!field.getAttribute || field.getAttribute('role') !== 'combobox') return;
  setTimeout(() => {
    if (document.activeElement !== field && field.getAttribute('aria-expanded') === 'true') {
      field.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', code: 'Escape', bubbles: true }));
    }
  }, 80);
});
"""
"""Gradio leaves the list of a dropdown open when the Tab key leaves it: it is closed."""

HEAD = f"<style>{FRAME}</style><script>{compare.FIRST}{guidance.SCRIPT}{diagram.SCRIPT}{views.SCRIPT}{examples.SCRIPT}{ranges.SCRIPT}{NAMED}{DROPPED}{KEYS}{LISTS}{AT_ONCE}</script>"

FORCE_THEME = {
    "system": "",
    "light": "() => { document.body.classList.remove('dark'); }",
    "dark": "() => { document.body.classList.add('dark'); }",
}
"""Script for --theme: run once when the page is opened."""
