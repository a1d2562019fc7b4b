"""The library: what is found, what is not looked at, and what the file commands write."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import StudioError
from core.families import get
from core.offsets.files import load_lora
from core.offsets.writing import save_offset
from core.studio.library import entries as library
from core.studio.library import hub, weights
from core.studio.library.choose import family_of_base, find_base, list_offsets
from core.studio.workspace import Workspace
from tests.builders.hub import serving
from tests.builders.offsets import random_offset


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "mine"
    get("sdxl").tiny().save_pretrained(folder)
    return folder


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "space")


@pytest.fixture
def files(tmp_path):
    """A folder of a LoRA, whole weights, a pickle, and things that are none."""
    family = get("sd15")
    pipe, folder = family.tiny(), tmp_path / "files"
    (folder / "deep").mkdir(parents=True)
    save_offset(folder / "a.safetensors", random_offset(family, pipe), family="sd15", provenance={"steps": "5"})
    state = {name: tensor + 0.05 * torch.randn_like(tensor) for name, tensor in pipe.unet.state_dict().items()}
    save_file(state, folder / "deep" / "tuned.safetensors")
    torch.save(state, folder / "tuned.ckpt")
    (folder / "page.safetensors").write_text("<!doctype html>")
    (folder / "notes.txt").write_text("hello")
    pipe.save_pretrained(tmp_path / "tiny")
    return folder


def test_only_chosen_folders_are_looked_in_and_every_entry_is_known_by_its_header(workspace, files, model):
    assert all(entry.source == "bundled" for entry in library.entries(workspace))
    library.add_folder(workspace, files)
    library.add_folder(workspace, model.parent)
    listed = {e.name: (e.kind, e.family) for e in library.entries(workspace) if e.source != "bundled"}
    assert listed == {
        "files/a.safetensors": ("offset", "sd15"),
        "files/deep/tuned.safetensors": ("weights", ""),
        "files/tuned.ckpt": ("pickle", ""),
        f"{model.parent.name}/mine": ("model", "sdxl"),
    }
    assert family_of_base(find_base(workspace, f"{model.parent.name}/mine")) == "sdxl"
    names = [choice.name for choice in list_offsets(workspace, "sdxl")]
    assert "files/a.safetensors" not in names and "files/deep/tuned.safetensors" in names
    library.remove_folder(workspace, files.name)
    assert not any(e.source == "files" for e in library.entries(workspace))
    assert (files / "a.safetensors").exists()


def test_folders_that_cannot_be_added(workspace, tmp_path):
    for folder, sentence in ((tmp_path / "none", "no folder"), (Path("/"), "whole disk"), (Path.home(), "whole disk")):
        with pytest.raises(StudioError, match=sentence):
            library.add_folder(workspace, folder)
    with pytest.raises(StudioError, match="not on the list"):
        library.remove_folder(workspace, "x")


def test_a_hash_is_computed_once_for_each_state(workspace, files):
    path = files / "a.safetensors"
    first = library.hash_of(workspace, path)
    assert first == library.hash_of(workspace, path) and len(first) == 64
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert library.hash_of(workspace, path) != first


def test_what_several_keep_at_once_is_all_kept(workspace, tmp_path):
    """A folder added while another thread computes a hash was lost before: the hash wrote what it had read at its start."""
    (tmp_path / "weights.safetensors").write_bytes(bytes(8))
    made = [tmp_path / str(n) for n in range(8)]
    for folder in made:
        folder.mkdir()
    with ThreadPoolExecutor(8) as pool:
        kept = [pool.submit(library.add_folder, workspace, folder) for folder in made]
        kept += [pool.submit(library.hash_of, workspace, tmp_path / "weights.safetensors") for _ in range(4)]
        for each in kept:
            each.result()
    assert set(library.folders(workspace)) == set(made)


@pytest.mark.parametrize("text", ["", "[]", '{"folders": 5, "hashes": []}', '{"folders": [{}, 3]}'])
def test_a_stored_file_of_another_kind_counts_as_empty(workspace, tmp_path, text):
    (workspace.root / "library.json").write_text(text)
    assert library.folders(workspace) == []
    library.add_folder(workspace, tmp_path)
    assert library.folders(workspace) == [tmp_path]


@pytest.mark.usefixtures("warm_conversions")
def test_a_dropped_pickle_becomes_safetensors_and_a_dropped_page_nothing(workspace, files):
    imported = weights.import_offset(workspace, files / "tuned.ckpt")
    assert imported["kind"] == "full" and Path(imported["saved"]).parent == workspace.offsets
    before = sorted(workspace.offsets.iterdir())
    with pytest.raises(StudioError, match="web page"):
        weights.import_offset(workspace, files / "page.safetensors")
    assert sorted(workspace.offsets.iterdir()) == before
    again = weights.import_offset(workspace, files / "tuned.ckpt")
    assert again["saved"] != imported["saved"], "nothing is overwritten"


@pytest.mark.long
def test_extract_merge_and_convert_write_what_they_say(workspace, files, tmp_path):
    base = str(tmp_path / "tiny")
    tuned = str(files / "deep" / "tuned.safetensors")
    dry = weights.extract(workspace, tuned, base=base, rank=4, dry_run=True)
    assert not Path(dry["would_write"]).exists()
    report = weights.extract(workspace, tuned, base=base, rank=4)
    assert 0 < report["captured"] < 1 and 0 < report["prediction_error"] < 1.5 and len(report["captured_by_layer"]) > 10
    assert weights.offset_info(workspace, report["saved"])["rank"] == "4"
    # norms and biases changed: one file with them for here, one without for the others
    whole, part = (load_lora(Path(report[key])) for key in ("saved", "without_norms_and_biases"))
    assert whole.dense and not part.dense and whole.low_rank.keys() == part.low_rank.keys()
    assert "diffusers refuses" in report["read_by"] and report["read_by_others"].endswith(
        "sd-scripts read this file whole."
    )
    assert report["prediction_error"] < report["prediction_error_without"]
    stock = get("sd15").tiny()
    stock.load_lora_weights(Path(report["saved"]).parent, weight_name=Path(report["without_norms_and_biases"]).name)
    with pytest.raises(ValueError, match="not been correctly renamed"):
        get("sd15").tiny().load_lora_weights(Path(report["saved"]).parent, weight_name=Path(report["saved"]).name)
    kohya = weights.convert_offset(workspace, str(files / "a.safetensors"), to="kohya")
    assert kohya["format"] == "kohya" and weights.offset_info(workspace, kohya["saved"])["steps"] == "5"
    merged = weights.merge(workspace, str(files / "a.safetensors"), scale=-0.3, base=base)
    assert set(load_file(merged["saved"])) == set(get("sd15").tiny().unet.state_dict())
    with pytest.raises(StudioError, match="already exists"):
        weights.convert_offset(workspace, str(files / "a.safetensors"), to="kohya", out=kohya["saved"])
    with pytest.raises(StudioError, match="out of range"):
        weights.merge(workspace, str(files / "a.safetensors"), scale=99, base=base)


def test_an_import_keeps_the_strength_given_next_to_the_file(workspace, tmp_path):
    """PEFT writes lora_alpha into adapter_config.json: the file alone would act at another strength."""
    module = "mid_block.attentions.0.proj_in"
    down, up = torch.randn(16, 8), torch.randn(8, 16)
    folder = tmp_path / "adapter"
    folder.mkdir()
    names = [f"base_model.model.{module}.lora_{side}.weight" for side in "AB"]
    save_file(dict(zip(names, (down, up), strict=True)), folder / "adapter_model.safetensors")
    torch.save(dict(zip(names, (down, up), strict=True)), tmp_path / "adapter_model.bin")
    for place in (folder, tmp_path):
        (place / "adapter_config.json").write_text(json.dumps({"r": 16, "lora_alpha": 32, "peft_type": "LORA"}))
    for source in (folder, folder / "adapter_model.safetensors", tmp_path / "adapter_model.bin"):
        saved = Path(weights.import_offset(workspace, source)["saved"])
        assert saved.parent == workspace.offsets
        torch.testing.assert_close(load_lora(saved).low_rank[module].dense(), 2 * up @ down)
    converted = weights.convert_offset(workspace, str(folder), to="kohya")
    assert "sd-scripts read this file whole" in converted["read_by"]
    torch.testing.assert_close(load_lora(Path(converted["saved"])).low_rank[module].dense(), 2 * up @ down)


def test_an_adapter_that_needs_its_base_is_converted_with_it(workspace, tmp_path):
    get("sd15").tiny().save_pretrained(tmp_path / "tiny")
    flat = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    weight = get("sd15").tiny().unet.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn1.to_q").weight
    size = len(weight)
    parts = {"hada_w1_a": (size, 2), "hada_w1_b": (2, size), "hada_w2_a": (size, 2), "hada_w2_b": (2, size)}
    save_file({f"{flat}.{name}": torch.randn(shape) for name, shape in parts.items()}, tmp_path / "x.safetensors")
    with pytest.raises(StudioError, match="--base"):
        weights.convert_offset(workspace, str(tmp_path / "x.safetensors"), to="kohya")
    report = weights.convert_offset(workspace, str(tmp_path / "x.safetensors"), to="kohya", base=str(tmp_path / "tiny"))
    assert list(load_lora(Path(report["saved"])).dense) == ["mid_block.attentions.0.transformer_blocks.0.attn1.to_q"]


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    import huggingface_hub.constants as constants

    with serving() as (hub_class, address):
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        yield hub_class


def test_a_model_is_fetched_pinned_by_commit_safetensors_alone(workspace, stand_in, model):
    stand_in.files = {
        str(path.relative_to(model)): path.read_bytes() for path in model.rglob("*") if path.is_file()
    } | {"unet/evil.bin": b"pickle", "run.py": b"print()", "v1.safetensors": b"0" * 10}
    steps = list(hub.fetch_model(workspace, "a/b"))
    folder = steps[-1].folder
    assert folder == workspace.models / f"a--b@{stand_in.sha[:12]}"
    assert steps[0].done == 0 and steps[-1].done == steps[-1].total
    assert (
        not list(folder.rglob("*.bin")) and not list(folder.rglob("*.py")) and not (folder / "v1.safetensors").exists()
    )
    get("sdxl").load(folder)
    assert any(entry.name == folder.name for entry in library.entries(workspace))


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(500, "answered 500.*Try again later"), (429, "answered 429"), (403, "accept its terms.*huggingface.co/a/b")],
)
def test_what_the_hub_refuses_is_reported_without_the_token(workspace, stand_in, status, sentence):
    stand_in.status = status
    with pytest.raises(StudioError, match=sentence) as refused:
        list(hub.fetch_model(workspace, "a/b"))
    assert "secret" not in str(refused.value)


def test_a_repository_that_reaches_outside_or_holds_no_weights_is_refused(workspace, stand_in):
    stand_in.files = {"../../x.safetensors": b"0"}
    with pytest.raises(StudioError, match="outside its folder"):
        list(hub.fetch_model(workspace, "a/b"))
    stand_in.files = {"model.bin": b"0"}
    with pytest.raises(StudioError, match="no safetensors"):
        list(hub.fetch_model(workspace, "a/b"))
    assert not any(workspace.models.iterdir())


@pytest.mark.parametrize("name", ["a", "a/b/c", "../b", "a/..", "https://x/y", "$(touch x)/b"])
def test_what_is_not_a_repository_is_refused_before_anything_is_asked(workspace, name):
    with pytest.raises(StudioError, match="not the name of a Hub repository"):
        list(hub.fetch_model(workspace, name))


@pytest.fixture
def remote(stand_in, model):
    """The stand-in with a whole model in it."""
    stand_in.files = {str(path.relative_to(model)): path.read_bytes() for path in model.rglob("*") if path.is_file()}
    return stand_in


UNET = "unet/diffusion_pytorch_model.safetensors"


def test_fault_63_an_interrupted_download_shows_nowhere_and_continues_where_it_stopped(workspace, remote, monkeypatch):
    from huggingface_hub import constants, file_download

    monkeypatch.setattr(file_download.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2**12)
    steps = hub.fetch_model(workspace, "a/b")
    for step in steps:
        if step.file == UNET:
            break  # closed in the middle, as by a person who closes the program
    steps.close()
    assert not [entry for entry in library.entries(workspace) if entry.source == "workspace"]
    remote.cut = {UNET}  # and then the connection breaks half way through a file
    folder = list(hub.fetch_model(workspace, "a/b"))[-1].folder
    (asked,) = remote.ranges
    assert 0 < int(asked.removeprefix("bytes=").removesuffix("-")) <= len(remote.files[UNET]) // 2
    assert (folder / UNET).read_bytes() == remote.files[UNET]
    get("sdxl").load(folder)
    assert [entry.name for entry in library.entries(workspace) if entry.source == "workspace"] == [folder.name]
    assert [path.name for path in workspace.models.iterdir()] == [folder.name]


def test_fault_63_a_file_with_another_hash_is_never_installed(workspace, remote):
    remote.spoilt = {UNET}
    with pytest.raises(StudioError, match=f"“{UNET}” of a/b did not arrive as the Hub describes it"):
        list(hub.fetch_model(workspace, "a/b"))
    assert not [entry for entry in library.entries(workspace) if entry.source == "workspace"]
    remote.spoilt = set()
    get("sdxl").load(list(hub.fetch_model(workspace, "a/b"))[-1].folder)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.2:1/x", "http://10.0.0.1/x", "http://[::1]:1/", "http://169.254.169.254/"]
)
def test_fault_61_a_redirect_to_a_private_address_is_not_followed(workspace, remote, address):
    remote.elsewhere = {UNET: address}
    with pytest.raises(StudioError, match="redirected to .*an address of this machine or its own network"):
        list(hub.fetch_model(workspace, "a/b"))
    assert not [entry for entry in library.entries(workspace) if entry.source == "workspace"]


def test_without_a_network_it_is_reported(workspace, monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StudioError, match="cannot be reached"):
        list(hub.fetch_model(workspace, "a/b"))


def test_a_preset_is_pushed_with_its_card_and_pulled_at_a_commit(stand_in):
    assert hub.push_preset("a/b", '{"x": 1}', "# card") == stand_in.sha
    assert any(b"preset.json" in body for body in stand_in.posted)
    assert not any(b"secret" in body for body in stand_in.posted)
    stand_in.files = {"preset.json": b'{"x": 1}'}
    assert hub.pull_preset("a/b") == ('{"x": 1}', stand_in.sha)
    stand_in.files = {"README.md": b""}
    with pytest.raises(StudioError, match="no preset.json"):
        hub.pull_preset("a/b")
