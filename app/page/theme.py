"""The looks of the page: colours, spacing, and how small pictures are shown large. No font is fetched."""

import gradio as gr

from app.page import compare, diagram, grid, presets, views

FONTS = ["ui-sans-serif", "system-ui", "Segoe UI", "Helvetica Neue", "Noto Sans", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]

THEME = gr.themes.Base(
    primary_hue="indigo",
    secondary_hue="teal",
    neutral_hue="slate",
    font=FONTS,
    font_mono=MONO,
    radius_size="md",
    spacing_size="sm",
).set(
    body_background_fill="#f6f7fb",
    body_background_fill_dark="#0e1118",
    block_background_fill="#ffffff",
    block_background_fill_dark="#161b26",
    block_border_color="#e2e6f0",
    block_border_color_dark="#262d3d",
    block_label_text_size="*text_sm",
    block_info_text_size="*text_sm",
    block_info_text_color="#475569",
    block_info_text_color_dark="#a5b0c2",
    button_primary_background_fill="#4f46e5",
    button_primary_background_fill_hover="#4338ca",
    button_primary_text_color="#ffffff",
    slider_color="#4f46e5",
)

CSS = """
.gradio-container { max-width: 1320px !important; margin: 0 auto !important; padding-top: 10px !important; }
footer { display: none !important; }
#brand, .status, .scale-note, #meaning { background: transparent !important; border: 0 !important; }
#brand { align-items: baseline; gap: 0 12px; margin: 2px 0 4px; }
#brand > * { flex: 0 1 auto; width: auto; min-width: 0 !important; background: transparent; border: 0; font-size: .92rem; }
#brand h1 { font-size: 1.25rem; margin: 0; letter-spacing: -.01em; white-space: nowrap; }
.block.status, .block.scale-note { padding: 0 !important; min-height: 0; }
.status { font-size: .93rem; padding: 2px 0; }
.status .track { height: 6px; border-radius: 3px; background: rgba(127,127,160,.22); overflow: hidden; margin: 6px 0; }
.status .fill { height: 100%; background: #4f46e5; transition: width .2s; }
.status .fault { border-left: 4px solid #dc2626; background: rgba(220,38,38,.09); padding: 8px 12px; border-radius: 6px; }
.status .fault b { display: block; }
.status .facts { display: flex; flex-wrap: wrap; gap: 4px 18px; }
.status .facts span b { font-variant-numeric: tabular-nums; }
.scale-note { font-size: .9rem; opacity: .8; padding: 2px 0; }
.block.status, .block.status .prose { min-height: 26px; }
.block.status:not(#status):has(.prose:empty) { display: none; }
.beside { align-items: end; }
.even .container { height: 100%; display: flex; flex-direction: column; }
.even .container .info-text { flex: 1; }
.even .block:has(> * input[type=checkbox]) { min-width: min(180px, 100%) !important; flex-grow: 1; }
.in-group { background: var(--block-background-fill) !important; padding: 0 !important; }
.in-group .scale-note { padding: 0; }
.scale-note code { font-size: .95em; }
#pair img { image-rendering: auto; width: 100% !important; height: 100% !important; object-fit: contain !important; }
#pair { min-height: 380px; }
#sides img, #history img, .previews img { image-rendering: auto; object-fit: contain !important; width: 100% !important; height: 100% !important; }
#library table { font-family: var(--font); }
#library td span, #library th span { font-family: inherit; }
#runs-list .wrap { flex-direction: column; }
#runs-list label { overflow-wrap: anywhere; }
#meaning { font-size: .92rem; line-height: 1.45; opacity: .9; padding: 2px 6px; }
@media (max-width: 640px) {
  .gradio-container { padding: 6px !important; }
  #pair { min-height: 280px; }
}
"""

CSS += diagram.CSS + views.CSS + grid.CSS + presets.CSS

FRAME = """
.drop-file .wrap { flex-direction: row !important; flex-wrap: wrap; align-content: end; justify-content: center; gap: 0 8px; font-size: .92rem !important; min-height: 0 !important; padding: 26px 8px 8px !important; }
.drop-file .icon-wrap { display: none !important; }
gradio-app > .gradio-container { width: 100% !important; }
@media (max-width: 640px) {
  .gradio-container, .gradio-container > .main, main.contain, .tabs, .tab-wrapper { min-width: 0 !important; max-width: 100vw !important; }
  .gradio-container > .main { padding: 6px !important; }
}
.min_value, .max_value, .wrap .or, .upload-container .or { color: var(--block-info-text-color) !important; }
input[role=combobox] { color: var(--body-text-color) !important; }
.tab-container button.selected { color: #4f46e5 !important; }
.dark .tab-container button.selected { color: #a5b4fc !important; }
"""
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
  if (!file || !input || (own && own.querySelector && own.querySelector('input[type=file]')) || !/[.](png|mp4)$/i.test(file.name)) return;
  e.preventDefault();
  const carried = new DataTransfer();
  carried.items.add(file);
  input.files = carried.files;
  input.dispatchEvent(new Event('change', { bubbles: true }));
});
"""
"""A picture or video dropped beside every drop field goes to the one that reads its settings into Compare."""

HEAD = f"<style>{FRAME}</style><script>{compare.FIRST}{diagram.SCRIPT}{NAMED}{DROPPED}</script>"

FORCE_THEME = {
    "system": "",
    "light": "() => { document.body.classList.remove('dark'); }",
    "dark": "() => { document.body.classList.add('dark'); }",
}
"""Script for --theme: run once when the page is opened."""
