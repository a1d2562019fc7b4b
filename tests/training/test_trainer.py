"""A step of the trainer alone: what it changes, what it counts, what it refuses, and its state saved and put back."""

import math
import sys

import pytest
import torch
from accelerate import Accelerator

from core.errors import StudioError
from core.method.tdft import Loss
from core.training.material import gather
from core.training.self_npo import SelfNpo
from core.training.settings import OptimiserSettings
from core.training.start_points import StartPoints
from core.training.trainer import MOST_OVERFLOWS, Trainer, learning_rate
from tests.training.variants import FAMILY, PROMPTS, config


def made(folder, **changes):
    """A trainer on a fresh tiny model, with the objective of Self-NPO from noise."""
    settings = config(**{"start": "noise", **changes})
    pipe, accelerator = FAMILY.tiny(), Accelerator(cpu=True)
    material = gather(settings, folder, pipe, FAMILY, PROMPTS, accelerator)
    return Trainer(settings, FAMILY, pipe.unet, accelerator), SelfNpo(settings, material, StartPoints())


def trained(trainer):
    return [parameter.detach().clone() for parameter in trainer.student.parameters]


def test_a_step_changes_the_weights_and_says_what_it_did(tmp_path):
    trainer, objective = made(tmp_path, warmup_steps=4, learning_rate=0.01)
    before = trained(trainer)
    first, second = trainer.step(objective), trainer.step(objective)
    assert (first.step, second.step) == (1, 2) == (1, trainer.steps_done)
    assert (first.learning_rate, second.learning_rate) == (0.0025, 0.005)
    assert math.isfinite(first.loss) and first.gradient_norm > 0 and first.overflows == 0
    assert any(not torch.equal(a, b) for a, b in zip(before, trained(trainer), strict=True))


def test_the_first_step_is_adamw_on_the_objectives_own_loss(tmp_path):
    trainer, objective = made(tmp_path, warmup_steps=0, learning_rate=0.01, clip_norm=1e6)
    with trainer.student.reference() as network:
        batch = objective.batch(lambda x, t, c: FAMILY.predict(network, x, t, c), 0, 0, torch.device("cpu"))
    loss = Loss("mse", "epsilon")(
        FAMILY.predict(trainer.denoiser, batch.x_s, batch.s, batch.cond),
        batch.x0_hat,
        batch.x_s,
        batch.s,
        objective.material.schedule,
    )
    before = trained(trainer)
    gradients = torch.autograd.grad(loss, trainer.student.parameters, allow_unused=True)
    done = trainer.step(objective)
    assert done.loss == pytest.approx(float(loss), rel=1e-6)
    for old, new, gradient in zip(before, trainer.student.parameters, gradients, strict=True):
        # the first step of Adam is the rate times the sign of the gradient, where that is not tiny
        clear = gradient.abs() > 1e-5
        torch.testing.assert_close((new - old)[clear], -0.01 * gradient[clear].sign(), atol=1e-4, rtol=0)


READERS = ("item", "tolist", "__float__", "__int__", "__bool__", "numpy", "cpu")


@pytest.mark.parametrize("changes", [{}, {"reference": "ema"}, {"weights": "full"}, {"rollout_guidance": 1.0}])
def test_a_step_reads_the_device_once_at_its_end(tmp_path, monkeypatch, changes):
    """As on a card: what the step reads of the device before its end would make the host wait."""
    trainer, objective = made(tmp_path, **changes)
    expected = trainer.step(objective)
    trainer, objective = made(tmp_path, **changes)
    trainer.reads_late = True
    asked = []

    def counted(name, real):
        def read(tensor, *args, **kwargs):
            caller = sys._getframe(1).f_code
            if "/core/" in caller.co_filename:
                asked.append((name, caller.co_name))
            return real(tensor, *args, **kwargs)

        return read

    with monkeypatch.context() as patched:
        for name in READERS:
            patched.setattr(torch.Tensor, name, counted(name, getattr(torch.Tensor, name)))
        done = trainer.step(objective)
    drawn_on_the_host = ("in_turn",)
    assert [call for call in asked if call[1] not in drawn_on_the_host] == [("tolist", "step")]
    assert done == expected


def test_a_loss_that_is_read_late_stops_the_run_before_anything_is_kept(tmp_path):
    trainer, objective = made(tmp_path)
    trainer.reads_late = True
    real = trainer.predict_student
    trainer.predict_student = lambda *args: real(*args) * math.nan
    with pytest.raises(StudioError, match="The loss became NaN or infinite at step 1"):
        trainer.step(objective)
    assert trainer.steps_done == 0
    with pytest.raises(StudioError, match="weights became NaN"):
        trainer.save(tmp_path)


def test_a_restored_trainer_continues_bit_for_bit(tmp_path):
    trainer, objective = made(tmp_path, reference="ema", ema_decay=0.5)
    trainer.step(objective)
    trainer.overflows = 3
    trainer.save(tmp_path)
    other, its_objective = made(tmp_path, reference="ema", ema_decay=0.5)
    restored = other.restore(tmp_path)
    assert (restored.checkpoint, restored.damaged, other.steps_done) == ("step-0000001", (), 1)
    one, two = trainer.step(objective), other.step(its_objective)
    assert one == two and one.overflows == 3
    assert all(torch.equal(a, b) for a, b in zip(trained(trainer), trained(other), strict=True))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_became_nan_changes_no_weight(tmp_path, value):
    trainer, objective = made(tmp_path)
    before = trained(trainer)
    real = trainer.predict_student
    trainer.predict_student = lambda *args: real(*args) * value
    with pytest.raises(StudioError, match="The loss became NaN or infinite at step 1") as refused:
        trainer.step(objective)
    assert "learning rate" in refused.value.remedy and trainer.steps_done == 0
    assert all(torch.equal(a, b) for a, b in zip(before, trained(trainer), strict=True))


def test_a_gradient_that_became_infinite_changes_no_weight(tmp_path):
    trainer, objective = made(tmp_path)
    before = trained(trainer)
    trainer.student.parameters[0].register_hook(lambda gradient: gradient + math.inf)
    with pytest.raises(StudioError, match="The gradient became NaN or infinite at step 1"):
        trainer.step(objective)
    assert all(torch.equal(a, b) for a, b in zip(before, trained(trainer), strict=True))


def test_weights_that_became_nan_are_never_stored(tmp_path):
    trainer, objective = made(tmp_path)
    trainer.step(objective)
    trainer.save(tmp_path)
    trainer.step(objective)
    trainer.student.parameters[-1].data.view(-1)[0] = math.nan
    with pytest.raises(StudioError, match="The weights became NaN or infinite at step 2"):
        trainer.save(tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-0000001"]


class Skipping:
    """An optimiser behind a gradient scaler whose every step overflows, as fp16 does on a card."""

    def __init__(self, optimizer):
        self.optimizer, self.step_was_skipped = optimizer, True

    def zero_grad(self, **options):
        self.optimizer.zero_grad(**options)

    def step(self):
        if not self.step_was_skipped:
            self.optimizer.step()


def test_steps_that_overflow_in_fp16_are_counted_and_too_many_running_end_the_run(tmp_path):
    trainer, objective = made(tmp_path, steps=100)
    trainer.prepared = Skipping(trainer.prepared)
    before = trained(trainer)
    assert [trainer.step(objective).overflows for _ in range(3)] == [1, 2, 3]
    assert all(torch.equal(a, b) for a, b in zip(before, trained(trainer), strict=True))
    trainer.prepared.step_was_skipped = False
    assert trainer.step(objective).overflows == 3
    trainer.prepared.step_was_skipped = True
    trainer.overflows_running = MOST_OVERFLOWS - 1
    with pytest.raises(StudioError, match=f"overflowed fp16 in {MOST_OVERFLOWS} consecutive steps") as refused:
        trainer.step(objective)
    assert "bf16" in refused.value.remedy


def test_the_rate_rises_over_the_warm_up_and_stays():
    settings = OptimiserSettings(learning_rate=0.8, warmup_steps=4)
    assert [learning_rate(settings, step) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])
    assert learning_rate(OptimiserSettings(learning_rate=0.8, warmup_steps=0), 0) == 0.8
