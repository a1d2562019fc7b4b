"""What ends a training, as the events that a person reads. No torch at import: a broken installation is reported, too."""

from __future__ import annotations

import errno

from core.errors import DiskFull, Sentence, StudioError
from core.events import Notice, RunFailed, RunPaused, TrainEvent


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine or its card had no memory left."""
    if not isinstance(error, RuntimeError):
        return isinstance(error, MemoryError)
    from accelerate.utils.memory import should_reduce_batch_size

    return should_reduce_batch_size(error)


def events_of_fault(error: Exception, step: int) -> tuple[TrainEvent, ...]:
    """The last events of a run that a fault ended after `step` steps: a pause where the same command can go on."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or isinstance(error, DiskFull):
        reason = Sentence("The disk is full. Free 0.5 GB and resume.")
        if isinstance(error, DiskFull):
            reason = Sentence("{message} {remedy}", message=error.message, remedy=error.remedy)
        return (Notice(step=step, message=reason), RunPaused(step=step, reason=reason))
    if isinstance(error, StudioError):
        return (RunFailed(step=step, message=error.message, remedy=error.remedy),)
    if isinstance(error, OSError):
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return (
                RunFailed(
                    step=step,
                    message="The run's folder is read-only.",
                    remedy="Allow writing in the workspace and resume; the last checkpoint is kept.",
                ),
            )
        return (
            RunFailed(
                step=step,
                message="The disk reports a fault.",
                remedy="Check the disk and resume; the last checkpoint is kept.",
            ),
        )
    if is_out_of_memory(error):
        return (
            RunFailed(
                step=step,
                message="The machine ran out of memory.",
                remedy="Lower batch_size, or turn gradient_checkpointing on, and start a new run.",
            ),
        )
    return (
        RunFailed(
            step=step,
            message=Sentence("Training failed: {kind}.", kind=type(error).__name__),
            remedy="See log.txt in the run's folder.",
        ),
    )
