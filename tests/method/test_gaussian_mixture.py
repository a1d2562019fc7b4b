"""The method against closed forms: data from a Gaussian mixture, whose posterior mean is known exactly."""

import pytest
import torch
from diffusers import DDIMScheduler

from core.method.schedule import NoiseSchedule, Prediction, ddim_grid
from core.method.tdft import Loss, guided_denoiser, renoise, rollout

MEANS = torch.tensor([[-2.0, 1.0], [1.5, -0.5], [0.5, 2.0]], dtype=torch.float64)
SHARES = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
SPREAD = 0.3


def schedule(prediction: Prediction = Prediction.EPSILON) -> NoiseSchedule:
    made = NoiseSchedule.from_scheduler(
        DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    )
    alpha_t = made.alpha_t.double()
    return NoiseSchedule(alpha_t, (1 - alpha_t**2).sqrt(), prediction)


def draw(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    which = torch.multinomial(SHARES, count, replacement=True, generator=generator)
    return MEANS[which] + SPREAD * torch.randn(count, 2, generator=generator, dtype=torch.float64)


def posterior_mean(x_t: torch.Tensor, t: torch.Tensor, s: NoiseSchedule) -> torch.Tensor:
    """E[x_0 | x_t] of the mixture: responsibilities times the posterior mean of each component."""
    alpha_t, sigma_t = s.at(t, x_t)
    variance = alpha_t**2 * SPREAD**2 + sigma_t**2
    gap = x_t[:, None] - alpha_t[:, None] * MEANS
    logits = SHARES.log() - 0.5 * (gap**2).sum(-1) / variance
    each = MEANS + (alpha_t * SPREAD**2 / variance)[:, None] * gap
    return (logits.softmax(-1)[..., None] * each).sum(1)


def exact_denoiser(s: NoiseSchedule):
    """The network that knows the mixture, stating its prediction as the schedule asks."""

    def output(x_t: torch.Tensor, t: torch.Tensor, cond: object = None) -> torch.Tensor:
        x_0 = posterior_mean(x_t, t, s)
        alpha_t, sigma_t = s.at(t, x_t)
        noise = (x_t - alpha_t * x_0) / sigma_t
        return noise if s.prediction is Prediction.EPSILON else alpha_t * noise - sigma_t * x_0

    return output


@pytest.mark.parametrize("prediction", [Prediction.EPSILON, Prediction.V])
def test_tweedie_is_the_exact_posterior_mean(prediction):
    s = schedule(prediction)
    t = torch.randint(1, 1000, (64,), generator=torch.Generator().manual_seed(1))
    x_t = s.noise(draw(64), torch.randn(64, 2, dtype=torch.float64), t)
    torch.testing.assert_close(s.x0(exact_denoiser(s)(x_t, t), x_t, t), posterior_mean(x_t, t, s), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(("t", "s"), [(0, 999), (300, 301), (300, 700), (999, 999)])
def test_renoised_latents_have_exactly_the_marginal_variance(t, s):
    noise_schedule = schedule()
    count = 400_000
    x_0 = draw(count)
    generator = torch.Generator().manual_seed(2)
    at_t, at_s = torch.full((count,), t), torch.full((count,), s)
    x_t = noise_schedule.noise(x_0, torch.randn(count, 2, generator=generator, dtype=torch.float64), at_t)
    x_s = renoise(x_t, at_t, at_s, torch.randn(count, 2, generator=generator, dtype=torch.float64), noise_schedule)
    alpha_s, sigma_s = noise_schedule.alpha_t[s], noise_schedule.sigma_t[s]
    expected = alpha_s**2 * torch.cov(x_0.T) + sigma_s**2 * torch.eye(2)
    # four standard errors of a sample variance
    torch.testing.assert_close(torch.cov(x_s.T), expected, atol=4 * (2 / count) ** 0.5 * float(expected.max()), rtol=0)
    torch.testing.assert_close(x_s.mean(0), alpha_s * x_0.mean(0), atol=0.01, rtol=0)


def test_renoising_to_the_same_level_changes_nothing():
    s = schedule()
    t = torch.tensor([0, 500, 999])
    x_t = torch.randn(3, 2, dtype=torch.float64)
    assert torch.equal(renoise(x_t, t, t, torch.randn(3, 2, dtype=torch.float64), s), x_t)


def test_noising_the_estimate_instead_would_have_the_wrong_variance():
    """Why the paper renoises x_t: the posterior mean has lost variance."""
    s = schedule()
    t = torch.full((100_000,), 600)
    x_t = s.noise(draw(100_000), torch.randn(100_000, 2, dtype=torch.float64), t)
    estimate = posterior_mean(x_t, t, s)
    assert torch.cov(estimate.T).trace() < 0.8 * torch.cov(draw(100_000).T).trace()


@pytest.mark.long
def test_the_whole_grid_rolled_out_reaches_the_data():
    s = schedule()
    grid = ddim_grid(1000, 200)
    # SD1.5's schedule ends with a little signal left: start where it really ends
    noise = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x = s.noise(draw(20_000, seed=1), noise, torch.full((20_000,), int(grid[0])))
    end = rollout(lambda x_t, t: exact_denoiser(s)(x_t, t), x, grid[:, None].expand(-1, len(x)), s)
    torch.testing.assert_close(end.x0_hat.mean(0), draw(200_000).mean(0), atol=0.06, rtol=0)
    torch.testing.assert_close(torch.cov(end.x0_hat.T), torch.cov(draw(200_000).T), atol=0.15, rtol=0)


def test_a_rollout_of_no_steps_is_tweedie_at_the_start():
    s = schedule()
    x, t = torch.randn(5, 2, dtype=torch.float64), torch.tensor([10, 100, 300, 600, 900])
    end = rollout(lambda x_t, at: exact_denoiser(s)(x_t, at), x, t[None], s)
    assert torch.equal(end.x_t, x)
    torch.testing.assert_close(end.x0_hat, posterior_mean(x, t, s))


def test_a_row_that_repeats_its_timestep_stays_put():
    s = schedule()
    x = torch.randn(2, 2, dtype=torch.float64)
    times = torch.tensor([[800, 800], [700, 800], [600, 800]])
    end = rollout(lambda x_t, at: exact_denoiser(s)(x_t, at), x, times, s)
    torch.testing.assert_close(end.x_t[1], x[1])
    assert not torch.allclose(end.x_t[0], x[0])


@pytest.mark.parametrize("target", ["x0", "epsilon", "v"])
@pytest.mark.parametrize("prediction", [Prediction.EPSILON, Prediction.V])
def test_the_loss_is_zero_exactly_where_the_student_says_the_estimate(target, prediction):
    s = schedule(prediction)
    at = torch.tensor([200, 500, 900])
    x_s = torch.randn(3, 4, 2, 2, dtype=torch.float64)
    x0_hat = torch.randn_like(x_s)
    alpha_s, sigma_s = s.at(at, x_s)
    noise = (x_s - alpha_s * x0_hat) / sigma_s
    output = noise if prediction is Prediction.EPSILON else alpha_s * noise - sigma_s * x0_hat
    for kind in ("mse", "pseudo_huber"):
        assert Loss(kind, target)(output, x0_hat, x_s, at, s) < 1e-10
        assert Loss(kind, target)(output + 0.1, x0_hat, x_s, at, s) > 1e-4


def test_the_three_targets_differ_by_the_stated_weights():
    s = schedule()
    at = torch.tensor([400])
    x_s, x0_hat, output = (torch.randn(1, 4, 4, 4, dtype=torch.float64) for _ in range(3))
    x0, epsilon, v = (Loss("mse", target)(output, x0_hat, x_s, at, s) for target in ("x0", "epsilon", "v"))
    snr = s.signal_to_noise(at)[0]
    torch.testing.assert_close(epsilon / x0, snr.to(epsilon), rtol=1e-5, atol=0)
    torch.testing.assert_close(v / x0, 1 + snr.to(v), rtol=1e-5, atol=0)


def test_rollout_guidance_of_minus_one_is_the_unconditional_prediction_at_half_the_cost():
    calls = []

    def network(x_t, t, cond):
        calls.append(len(x_t))
        return x_t * cond

    join = lambda a, b: torch.cat([a, b])  # noqa: E731
    x, t = torch.randn(3, 2), torch.zeros(3).long()
    cond, empty = torch.full((3, 2), 5.0), torch.full((3, 2), 2.0)
    predictions = {w: guided_denoiser(network, cond, empty, w, join)(x, t) for w in (-1.0, 0.0, 2.0)}
    torch.testing.assert_close(predictions[-1.0], 2 * x)
    torch.testing.assert_close(predictions[0.0], 5 * x)
    torch.testing.assert_close(predictions[2.0], 5 * x + 2 * (5 - 2) * x)
    assert calls == [3, 3, 6]
