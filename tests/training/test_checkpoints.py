"""Checkpoints are whole or absent, whatever the disk does."""

import errno
import os

import pytest
import torch

from core.errors import StudioError
from core.training import checkpoints
from core.training.checkpoints import checkpoint_names, load_newest, save_checkpoint

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1)}


def test_the_newest_come_back_bit_for_bit_and_old_ones_go(tmp_path):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, TENSORS, {"base": "x"}, keep=2)
    assert checkpoint_names(tmp_path) == ["step-0000002", "step-0000003"]
    newest, damaged = load_newest(tmp_path)
    assert newest.facts == {"base": "x", "step": 3} and not damaged
    assert all(torch.equal(newest.tensors[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EPERM])
@pytest.mark.parametrize("k", range(12))
def test_whichever_file_operation_fails_the_last_good_checkpoint_stays(tmp_path, monkeypatch, k, code):
    save_checkpoint(tmp_path, 1, TENSORS, {}, keep=2)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    calls = []

    def failing(real):
        def operation(*args, **kwargs):
            calls.append(real)
            if len(calls) - 1 == k:
                raise OSError(code, os.strerror(code))
            return real(*args, **kwargs)

        return operation

    with monkeypatch.context() as patched:
        for owner, name in ((os, "fsync"), (os, "replace"), (os, "open"), (checkpoints, "save_file")):
            patched.setattr(owner, name, failing(getattr(owner, name)))
        try:
            save_checkpoint(tmp_path, 2, TENSORS, {}, keep=2)
        except StudioError as error:
            assert "checkpoint before it is kept" in error.remedy
            if code == errno.ENOSPC:
                assert "the disk is full" in error.message and "GB" in error.remedy
            assert not list(tmp_path.glob("*.tmp"))
    assert all(path.read_bytes() == content for path, content in before.items())
    newest, _ = load_newest(tmp_path)
    assert newest is not None and torch.equal(newest.tensors["a"], TENSORS["a"])


def test_a_checkpoint_without_its_manifest_is_none(tmp_path):
    save_checkpoint(tmp_path, 1, TENSORS, {}, keep=2)
    (tmp_path / "step-0000001" / "manifest.json").unlink()
    assert load_newest(tmp_path) == (None, [])
