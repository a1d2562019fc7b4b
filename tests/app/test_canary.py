"""A secret of this machine's environment is in nothing that the studio writes, prints or answers."""

import json

import pytest

from app.cli import main
from tests.builders import pages

SECRET = "hf_canaryCANARYcanaryCANARYcanary00"
NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACEHUB_API_TOKEN", "AWS_SECRET_ACCESS_KEY")
TINY = ["steps=2", "batch_size=2", "pool_size=2", "rank=2", "preview_every=2", "ddim_grid=4", "rollout_steps=1"]


@pytest.mark.long
def test_fault_66_a_token_is_in_no_file_line_or_answer(tmp_path, monkeypatch, capfd):
    for name in NAMES:
        monkeypatch.setenv(name, SECRET)
    folder = tmp_path / "space"
    space = ["--workspace", str(folder)]
    assert main(["train", "--cpu", "--name", "first", *space, "--set", *TINY]) == 0
    assert main(["runs", "--json", *space]) == 0
    printed = capfd.readouterr()
    run = json.loads(printed.out[printed.out.index("[") :])[0]["id"]
    options = ["--set", "steps=2", "images=1", f"negative=run {run}"]
    assert main(["compare", "a red circle", "--cpu", *space, *options]) == 0
    assert main(["compare", "a red circle", "--cpu", *space, "--set", "negative=nowhere"]) == 1
    assert main(["offset", "info", f"run {run}", *space]) == 0
    assert main(["doctor", *space]) in (0, 1)
    lines = "".join((*printed, *capfd.readouterr()))
    with pages.served(folder) as page:
        answers = [page.ask("GET", path)[2] for path in ("/", "/config", "/gradio_api/info", "/manifest.json")]
        answers.append(page.ask("GET", "/gradio_api/file=/proc/self/environ")[2])
        files = [path for root in (folder, page.uploads) for path in root.rglob("*") if path.is_file()]
        kept = [path.name for path in files if SECRET.encode() in path.read_bytes()]
    assert {"config.json", "events.jsonl", "offset.safetensors"} <= {path.name for path in files}
    assert any(path.suffix == ".png" for path in files)
    assert not kept and SECRET not in lines and not any(SECRET.encode() in answer for answer in answers)
    # the search itself: what is written is found
    (folder / "planted.json").write_text(f'{{"token": "{SECRET}"}}')
    assert [path.name for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
