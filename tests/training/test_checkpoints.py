"""Checkpoints are whole or absent, whatever the disk does."""

import errno
import multiprocessing
import os
import random
import time

import pytest
import torch

from core.errors import StudioError
from core.training import checkpoints
from core.training.checkpoints import checkpoint_names, load_newest, save_checkpoint, set_aside

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1)}


def test_the_newest_come_back_bit_for_bit_and_old_ones_go(tmp_path):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, TENSORS, {"base": "x"}, keep=2)
    assert checkpoint_names(tmp_path) == ["step-0000002", "step-0000003"]
    newest, damaged = load_newest(tmp_path)
    assert newest.facts == {"base": "x", "step": 3} and not damaged
    assert all(torch.equal(newest.tensors[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EPERM])
@pytest.mark.parametrize("k", range(9))
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
        with pytest.raises(StudioError) as failed:
            save_checkpoint(tmp_path, 2, TENSORS, {}, keep=2)
    assert len(calls) > k, "nothing was made to fail"
    assert "previous checkpoint is kept" in failed.value.remedy
    if code == errno.ENOSPC:
        assert "the disk is full" in failed.value.message and "GB" in failed.value.remedy
    assert not list(tmp_path.glob("*.tmp"))
    assert all(path.read_bytes() == content for path, content in before.items())
    newest, _ = load_newest(tmp_path)
    assert newest is not None and torch.equal(newest.tensors["a"], TENSORS["a"])


def test_a_save_makes_the_nine_operations_that_are_made_to_fail(tmp_path, monkeypatch):
    calls = []
    for owner, name in ((os, "fsync"), (os, "replace"), (os, "open"), (checkpoints, "save_file")):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, real=real, **kwargs: calls.append(real) or real(*args, **kwargs))
    save_checkpoint(tmp_path, 1, TENSORS, {}, keep=2)
    assert len(calls) == 9


def test_a_checkpoint_without_its_manifest_does_not_count(tmp_path):
    save_checkpoint(tmp_path, 1, TENSORS, {}, keep=2)
    (tmp_path / "step-0000001" / "manifest.json").unlink()
    assert load_newest(tmp_path) == (None, [])


def damage(folder, step):
    path = folder / f"step-{step:07d}" / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-3] + b"xyz")


def test_damaged_checkpoints_never_push_out_a_whole_one(tmp_path):
    for step in (2, 4, 6):
        save_checkpoint(tmp_path, step, TENSORS, {}, keep=3)
    damage(tmp_path, 4)
    damage(tmp_path, 6)
    newest, damaged = load_newest(tmp_path)
    assert newest.name == "step-0000002" and damaged == ["step-0000006", "step-0000004"]
    save_checkpoint(tmp_path, 3, TENSORS, {}, keep=2)
    assert checkpoint_names(tmp_path) == ["step-0000002", "step-0000003"]


def test_a_signal_while_one_is_read_is_not_taken_for_damage(tmp_path, monkeypatch):
    """safetensors makes a ValueError of an exception that a signal's handler raises inside of it."""
    for step in (2, 4):
        save_checkpoint(tmp_path, step, TENSORS, {}, keep=3)
    real, calls = checkpoints.load_file, []

    def interrupted(path):
        calls.append(path)
        if len(calls) == 1:
            raise ValueError("could not determine the shape of object type 'torch.storage.UntypedStorage'")
        return real(path)

    monkeypatch.setattr(checkpoints, "load_file", interrupted)
    newest, damaged = load_newest(tmp_path)
    assert newest.name == "step-0000004" and not damaged


def test_what_was_set_aside_no_longer_counts(tmp_path):
    for step in (2, 3):
        save_checkpoint(tmp_path, step, TENSORS, {}, keep=2)
    damage(tmp_path, 3)
    set_aside(tmp_path, load_newest(tmp_path)[1])
    save_checkpoint(tmp_path, 4, TENSORS, {}, keep=2)
    assert checkpoint_names(tmp_path) == ["step-0000002", "step-0000004"]


def test_a_manifest_of_another_step_is_damage(tmp_path):
    save_checkpoint(tmp_path, 1, TENSORS, {}, keep=2)
    (tmp_path / "step-0000001").rename(tmp_path / "step-0000009")
    assert load_newest(tmp_path) == (None, ["step-0000009"])


def test_a_disk_that_keeps_other_bytes_than_were_written_is_found_out(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, TENSORS, {}, keep=2)
    real = checkpoints.save_file

    def flipping(tensors, path):
        real(tensors, path)
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")

    monkeypatch.setattr(checkpoints, "save_file", flipping)
    with pytest.raises(StudioError, match="step 2 could not be written"):
        save_checkpoint(tmp_path, 2, TENSORS, {}, keep=2)
    assert checkpoint_names(tmp_path) == ["step-0000001"]


def save_for_ever(folder, began):
    newest, _ = load_newest(folder)
    began.set()
    for step in range(newest.facts["step"] + 1 if newest else 1, 10**6):
        save_checkpoint(folder, step, {"a": torch.full((40_000,), float(step))}, {}, keep=2)


@pytest.mark.process
@pytest.mark.parametrize(("kills", "inside_at_least"), [(8, 2), pytest.param(30, 12, marks=pytest.mark.slow)])
def test_killed_many_times_some_of_them_inside_a_save_nothing_is_lost(tmp_path, kills, inside_at_least):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["core.training.checkpoints"])
    chance, inside, reached = random.Random(0), 0, 0
    for _ in range(kills):
        began = context.Event()
        writer = context.Process(target=save_for_ever, args=(tmp_path, began))
        writer.start()
        assert began.wait(60)
        time.sleep(chance.uniform(0.0, 0.05))
        writer.kill()
        writer.join()
        inside += bool(list(tmp_path.glob("*.tmp")))
        newest, damaged = load_newest(tmp_path)
        assert not damaged
        if newest:
            assert newest.facts["step"] >= reached
            reached = newest.facts["step"]
            assert torch.equal(newest.tensors["a"], torch.full((40_000,), float(reached)))
    assert reached and inside >= inside_at_least
