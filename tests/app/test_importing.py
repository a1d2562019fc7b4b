"""Gradio's import without its stub files: they are not written, and everything else is as it was."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
sys.path[:0] = [{root!r}, {folder!r}]
if {left_out}:
    from app.importing import without_stubs
    without_stubs()
import gradio as gr
import mine
with gr.Blocks() as page:
    box = mine.Box("x")
    box.change(lambda text: text, box, box)
print(len(page.get_config_file()["dependencies"]))
"""


@pytest.mark.parametrize("left_out", [True, False])
@pytest.mark.process
def test_no_stub_is_written_next_to_a_component_and_its_events_are_there(tmp_path, left_out):
    (tmp_path / "mine.py").write_text("import gradio as gr\n\n\nclass Box(gr.Textbox):\n    pass\n")
    script = SCRIPT.format(root=str(ROOT), folder=str(tmp_path), left_out=left_out)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=True)
    assert ended.stdout.strip() == "1"
    assert (tmp_path / "mine.pyi").exists() is not left_out
