"""The schedule against diffusers' own schedulers: epsilon, v-prediction, zero terminal SNR, and flow."""

import pytest
import torch
from diffusers import CogVideoXDDIMScheduler, DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler
from hypothesis import given
from hypothesis import strategies as st

from core.errors import StudioError
from core.method.schedule import NoiseSchedule, Prediction, ddim_grid

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
KINDS = {
    "epsilon": DDIMScheduler(**SD, steps_offset=1, set_alpha_to_one=False),
    "v": DDIMScheduler(**SD, prediction_type="v_prediction", steps_offset=1),
    "zero terminal SNR": DDIMScheduler(
        **SD, prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_noising_is_the_schedulers_own(kind):
    scheduler = KINDS[kind]
    schedule = NoiseSchedule.from_scheduler(scheduler)
    x_0, noise, t = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2), torch.tensor([0, 250, 700, 999])
    torch.testing.assert_close(schedule.noise(x_0, noise, t), scheduler.add_noise(x_0, noise, t), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_ddim_step_and_its_estimate_are_the_schedulers_own(kind):
    scheduler = KINDS[kind]
    schedule = NoiseSchedule.from_scheduler(scheduler)
    scheduler.set_timesteps(25)
    x_t = torch.randn(2, 4, 4, 4)
    for t, t_next in zip(scheduler.timesteps[:-1], scheduler.timesteps[1:], strict=True):
        output = torch.randn_like(x_t)
        step = scheduler.step(output, t, x_t)
        rows, rows_next = t.repeat(2), t_next.repeat(2)
        if bool(schedule.alpha_t[t] > 0) or schedule.prediction is Prediction.V:
            torch.testing.assert_close(schedule.x0(output, x_t, rows), step.pred_original_sample, atol=2e-4, rtol=2e-4)
        torch.testing.assert_close(
            schedule.ddim_step(output, x_t, rows, rows_next), step.prev_sample, atol=2e-4, rtol=2e-4
        )


@pytest.mark.parametrize("kind", ["epsilon", "v", "zero terminal SNR"])
def test_the_grid_is_the_schedulers_own(kind):
    scheduler = KINDS[kind]
    scheduler.set_timesteps(25)
    spacing = scheduler.config.timestep_spacing
    assert ddim_grid(1000, 25, spacing=spacing).tolist() == scheduler.timesteps.tolist()


def test_zero_terminal_snr_starts_from_pure_noise():
    schedule = NoiseSchedule.from_scheduler(KINDS["zero terminal SNR"])
    assert schedule.alpha_t[-1] == 0
    x_t, output, t = torch.randn(1, 2, 2, 2), torch.randn(1, 2, 2, 2), torch.tensor([999])
    torch.testing.assert_close(schedule.x0(output, x_t, t), -output)
    assert torch.isfinite(schedule.ddim_step(output, x_t, t, torch.tensor([500]))).all()


def test_the_snr_shift_of_cogvideox_is_read_from_its_scheduler():
    shifted = NoiseSchedule.from_scheduler(CogVideoXDDIMScheduler(prediction_type="v_prediction", snr_shift_scale=3.0))
    plain = NoiseSchedule.from_scheduler(CogVideoXDDIMScheduler(prediction_type="v_prediction", snr_shift_scale=1.0))
    t = torch.tensor([500])
    assert shifted.signal_to_noise(t) < plain.signal_to_noise(t)


def test_every_scheduler_of_one_model_gives_one_schedule():
    scheduler = DPMSolverMultistepScheduler.from_config(KINDS["epsilon"].config)
    torch.testing.assert_close(
        NoiseSchedule.from_scheduler(scheduler).alpha_t, NoiseSchedule.from_scheduler(KINDS["epsilon"]).alpha_t
    )


def test_what_predicts_something_else_is_refused_in_a_sentence():
    with pytest.raises(StudioError, match="prediction type 'sample'"):
        NoiseSchedule.from_scheduler(EulerDiscreteScheduler(prediction_type="sample"))


@given(
    seed=st.integers(0, 2**31),
    prediction=st.sampled_from(list(Prediction)),
    t=st.integers(0, 998),
)
def test_x0_and_epsilon_of_an_output_always_recompose_x_t(seed, prediction, t):
    sigma_t = torch.linspace(0.001, 0.999, 1000, dtype=torch.float64)
    alpha_t = 1 - sigma_t if prediction is Prediction.FLOW else (1 - sigma_t**2).sqrt()
    schedule = NoiseSchedule(alpha_t, sigma_t, prediction)
    generator = torch.Generator().manual_seed(seed)
    x_t = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    output = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    at = torch.full((2,), t)
    recomposed = schedule.noise(schedule.x0(output, x_t, at), schedule.epsilon(output, x_t, at), at)
    torch.testing.assert_close(recomposed, x_t, atol=1e-8, rtol=1e-8)


def test_a_grid_that_does_not_fit_is_refused():
    with pytest.raises(StudioError, match="does not fit"):
        ddim_grid(1000, 1001)
