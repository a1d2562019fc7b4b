"""Textual inversions as other programs write them arrive with the vectors that were written."""

import pytest
import torch
from safetensors.torch import save_file

from core.errors import StudioError
from core.offsets.files import read_offset
from core.offsets.textual_inversion import read_inversion
from core.studio.library.entries import kind_of
from core.studio.library.load import find_inversions, load_inversion
from core.studio.library.weights import import_offset
from core.studio.workspace import Workspace

ONE, TWO = torch.randn(2, 768), torch.randn(2, 1280)
FORMS = {
    "a1111.pt": {"string_to_token": {"*": 265}, "string_to_param": {"*": ONE}, "name": "x", "step": 9},
    "diffusers.bin": {"<word>": ONE},
    "a1111.safetensors": {"emb_params": ONE},
    "diffusers.safetensors": {"<word>": ONE},
    "sdxl.safetensors": {"clip_l": ONE, "clip_g": TWO},
    "sdxl-trained.safetensors": {"text_encoders_0": ONE, "text_encoders_1": TWO},
}


@pytest.mark.parametrize("name", FORMS)
def test_files_of_every_program_are_imported_found_by_their_name_and_read_exactly(name, tmp_path):
    path, workspace = tmp_path / name, Workspace(tmp_path / "space")
    torch.save(FORMS[name], path) if path.suffix in (".pt", ".bin") else save_file(FORMS[name], path)
    facts = import_offset(workspace, path)
    assert (facts["kind"], facts["family"]) == ("textual inversion", "sdxl" if "sdxl" in name else "sd15")
    assert not list(workspace.offsets.iterdir())
    found = find_inversions(workspace, "nothing", f"a {path.stem} here")
    assert list(found) == [path.stem]
    vectors = load_inversion(found[path.stem]).vectors
    assert torch.equal(vectors[0], ONE) and (len(vectors) == 1 or torch.equal(vectors[1], TWO))


def test_a_pickle_in_the_folder_is_converted_when_it_is_called_and_code_in_one_is_refused(tmp_path):
    workspace = Workspace(tmp_path)
    torch.save(FORMS["a1111.pt"], workspace.embeddings / "mine.pt")
    found = find_inversions(workspace, "mine")
    assert found["mine"].name == "mine.safetensors" == find_inversions(workspace, "mine")["mine"].name
    assert kind_of(found["mine"]) == ("embedding", "sd15")
    torch.save({"string_to_param": torch.nn.ParameterDict({"*": torch.ones(1, 768)})}, workspace.embeddings / "old.pt")
    with pytest.raises(StudioError, match="“old.pt” could not be converted: it holds code"):
        find_inversions(workspace, "old")


@pytest.mark.parametrize("form", [form for form in FORMS if form.endswith("safetensors")])
def test_a_strange_key_in_one_is_refused_by_its_name_and_it_is_no_offset(form, tmp_path):
    path = tmp_path / form
    save_file(FORMS[form], path)
    with pytest.raises(StudioError, match="is a textual inversion, not an offset"):
        read_offset(path)
    save_file({**FORMS[form], "strange.key": torch.ones(1)}, path)
    with pytest.raises(StudioError, match="“strange.key” is not understood"):
        read_inversion(path)
