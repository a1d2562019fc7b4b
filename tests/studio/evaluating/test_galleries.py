"""Pictures that exist already, scored in pairs; what is missing is named."""

import json

import pytest
import torch
from PIL import Image

from app.cli import main
from core.errors import StudioError
from core.miniature.world.scene import sample_prompts
from core.studio.evaluating.galleries import pairs_of


@pytest.fixture
def folders(tmp_path):
    made = tmp_path / "without", tmp_path / "with"
    for side, folder in enumerate(made):
        folder.mkdir()
        for number, prompt in enumerate(sample_prompts(4, seed=5)):
            noise = torch.randint(0, 255, (64, 64, 3), generator=torch.Generator().manual_seed(9 * side + number))
            Image.fromarray(noise.to(torch.uint8).numpy()).save(folder / f"{number:06d}.png")
            (folder / f"{number:06d}.txt").write_text(prompt)
    return made


def test_what_is_missing_is_named_and_the_rest_is_scored(folders, workspace, capsys):
    (folders[1] / "000001.png").unlink()
    for folder in folders:
        (folder / "000002.txt").unlink()
    command = ["evaluate", "score", *map(str, folders), "--scorers", "judge-preference,judge-cleanliness", "--cpu"]
    assert main([*command, "--json", "--workspace", str(workspace.root)]) == 1
    figures = json.loads(capsys.readouterr().out)
    assert figures["pairs"] == 2 and figures["missing"] == ["with/000001", "000002.txt"]
    assert figures["scorers"]["judge-preference"]["pairs"] == 2
    change = figures["scorers"]["judge-cleanliness"]
    assert change["difference"]["value"] == pytest.approx(change["with"]["value"] - change["without"]["value"])


def test_folders_without_a_pair_and_pictures_that_cannot_be_read_are_refused(folders, workspace, capsys):
    with pytest.raises(StudioError, match="“nowhere” is not a folder"):
        pairs_of(folders[0], folders[1] / "nowhere")
    (folders[1] / "000000.png").write_bytes(b"no picture")
    command = ["evaluate", "score", *map(str, folders), "--scorers", "judge-preference", "--cpu"]
    assert main([*command, "--workspace", str(workspace.root)]) == 1
    assert "000000.png" in capsys.readouterr().err
    for path in folders[1].glob("*.png"):
        path.unlink()
    with pytest.raises(StudioError, match="no pair in common: with/000000, with/000001"):
        pairs_of(*folders)
