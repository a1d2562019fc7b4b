"""What ends a training becomes events with a way on: real failed allocations, a full disk, and anything else."""

import errno

import pytest
import torch

from core.errors import DiskFull, StudioError
from core.events import Notice, RunFailed, RunPaused
from core.training.faults import events_of_fault, is_out_of_memory


def test_a_real_allocation_that_the_machine_refuses_is_out_of_memory():
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**61, dtype=torch.uint8)
    assert is_out_of_memory(refused.value)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    ],
)
def test_memory_of_the_machine_and_of_a_card_end_a_run_with_the_settings_to_lower(error):
    (event,) = events_of_fault(error, 7)
    assert isinstance(event, RunFailed) and event.step == 7
    assert event.message == "The machine ran out of memory." and "batch_size" in event.remedy


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("a note on being out of memory.")])
def test_other_errors_are_not_taken_for_it(error):
    (event,) = events_of_fault(error, 0)
    assert event.message == f"Training failed: {type(error).__name__}." and "log.txt" in event.remedy
    assert str(error) not in event.message  # a foreign text may hold a path or a secret


@pytest.mark.parametrize(
    "error", [DiskFull("No room.", "Free 2 GB."), OSError(errno.ENOSPC, "No space left on device")]
)
def test_a_full_disk_pauses_with_what_to_free(error):
    notice, paused = events_of_fault(error, 3)
    assert isinstance(notice, Notice) and isinstance(paused, RunPaused) and paused.step == 3
    assert notice.message == paused.reason and "GB" in paused.reason


def test_a_sentence_stays_as_it_is():
    assert events_of_fault(StudioError("What.", "How."), 2) == (RunFailed(step=2, message="What.", remedy="How."),)
