"""Log-mel frames and their cepstrum against slow twins and against what is known of tones, noise and silence."""

import math

import numpy as np
import pytest
from scipy import fft

from m5jax.media import spectrum

RATE, WINDOW, HOP, MELS = 16000, 400, 160, 64


def power_of(frames: np.ndarray) -> np.ndarray:
    """Undoes logarithm and normalisation."""
    return np.exp(frames.astype(np.float64) * spectrum.LOG_SCALE + spectrum.LOG_MEAN)


def tone(hertz: float, amplitude: float = 0.5, seconds: float = 0.2) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def slow_mel(hertz: float) -> float:
    return 3 * hertz / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def slow_hertz(mel: float) -> float:
    """Inverts `slow_mel` by bisection."""
    low, high = 0.0, 1e5
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if slow_mel(middle) < mel else (low, middle)
    return low


def slow_log_mel(samples: np.ndarray, rate: int, window: int, hop: int, mels: int) -> np.ndarray:
    """The definition, written out: discrete Fourier transform by its sum, triangles point by point."""
    samples = [*map(float, samples), *[0.0] * (window - len(samples))]
    top = slow_mel(rate / 2)
    edges = [slow_hertz(top * i / (mels + 1)) for i in range(mels + 2)]
    times, rows = np.arange(window), []
    weights = np.array([math.sin(math.pi * n / window) ** 2 for n in range(window)])
    for start in range(0, len(samples) - window + 1, hop):
        frame = np.array(samples[start : start + window]) * weights
        row = [0.0] * mels
        for k in range(window // 2 + 1):
            power = abs(np.sum(frame * np.exp(-2j * np.pi * k * times / window))) ** 2
            hertz = k * rate / window
            for band in range(mels):
                low, centre, high = edges[band : band + 3]
                if low < hertz < high:
                    height = (hertz - low) / (centre - low) if hertz <= centre else (high - hertz) / (high - centre)
                    row[band] += height * 2 / (high - low) * power
        rows.append([(math.log(max(value, spectrum.FLOOR)) - spectrum.LOG_MEAN) / spectrum.LOG_SCALE for value in row])
    return np.array(rows)


@pytest.mark.parametrize(
    ("count", "rate", "window", "hop", "mels"),
    [(1000, 16000, 400, 160, 64), (900, 8000, 256, 100, 20), (700, 22050, 301, 301, 40), (100, 16000, 400, 160, 64)],
)
def test_equals_the_definition(count, rate, window, hop, mels):
    samples = np.random.default_rng(0).normal(0, 0.1, count).astype(np.float32)
    frames = spectrum.log_mel(samples, rate, window, hop, mels)
    assert frames.dtype == np.float16
    np.testing.assert_allclose(frames, slow_log_mel(samples, rate, window, hop, mels), atol=2e-3)


@pytest.mark.parametrize(
    ("count", "frames"), [(1, 1), (399, 1), (400, 1), (559, 1), (560, 2), (719, 2), (720, 3), (15600, 96)]
)
def test_number_of_frames(count, frames):
    assert spectrum.log_mel(np.zeros(count, np.float32), RATE, WINDOW, HOP, MELS).shape == (frames, MELS)


@pytest.mark.parametrize("hertz", [100.0, 440.0, 1000.0, 2500.0, 6000.0])
def test_a_tone_lands_in_its_band(hertz):
    frames = spectrum.log_mel(tone(hertz), RATE, WINDOW, HOP, MELS)
    band = int(np.argmax(frames.mean(0)))
    step = slow_mel(RATE / 2) / (MELS + 1)
    assert abs(slow_mel(hertz) - step * (band + 1)) <= step
    power = power_of(frames).mean(0)
    assert power[max(0, band - 3) : band + 4].sum() > 0.98 * power.sum()


def test_twice_the_amplitude_is_four_times_the_power():
    quiet, loud = (power_of(spectrum.log_mel(tone(500, level), RATE, WINDOW, HOP, MELS)) for level in (0.2, 0.4))
    loudest = quiet > 1e-3
    assert loudest.any()
    np.testing.assert_allclose((loud / quiet)[loudest], 4.0, rtol=0.02)


def test_power_of_noise_is_what_parseval_says():
    """White noise of variance s^2 has power s^2 * sum(window^2) in every bin; a filter has area 1 over Hz."""
    noise = np.random.default_rng(1).normal(0, 0.1, 20 * RATE).astype(np.float32)
    power = power_of(spectrum.log_mel(noise, RATE, WINDOW, HOP, MELS)).mean(0)
    expected = 0.01 * (3 / 8 * WINDOW) / (RATE / WINDOW)
    assert power.mean() == pytest.approx(expected, rel=0.02)
    np.testing.assert_allclose(power[20:], expected, rtol=0.15)  # low filters hold few bins: their sums are coarse


def test_filters_have_area_one_and_overlap_by_half():
    filters = spectrum.mel_filters(RATE, 16000, MELS)  # bins of 1 Hz
    np.testing.assert_allclose(filters.sum(0), 1.0, atol=2e-3)
    assert ((filters > 0).sum(1) <= 2).all()
    assert filters[0].max() == filters[-1].max() == 0.0


def test_silence_is_the_floor_and_loud_sound_stays_in_range():
    floor = (np.log(spectrum.FLOOR) - spectrum.LOG_MEAN) / spectrum.LOG_SCALE
    silent = spectrum.log_mel(np.zeros(4000, np.float32), RATE, WINDOW, HOP, MELS)
    np.testing.assert_allclose(silent, floor, atol=2e-3)
    square = np.sign(tone(200.0, seconds=1.0)).astype(np.float32)
    loud = spectrum.log_mel(square, RATE, WINDOW, HOP, MELS)
    assert np.isfinite(loud).all()
    assert loud.min() >= silent.min()
    assert loud.max() < 6


def test_scale_is_about_one_for_a_sound_with_loud_and_quiet_parts():
    rng = np.random.default_rng(2)
    samples = (rng.normal(0, 1, 2 * RATE) * np.geomspace(0.3, 1e-4, 2 * RATE)).astype(np.float32)
    frames = spectrum.log_mel(samples, RATE, WINDOW, HOP, MELS).astype(np.float32)
    assert -1 < frames.mean() < 1
    assert 0.5 < frames.std() < 2


def test_later_sound_does_not_change_earlier_frames():
    samples = np.random.default_rng(3).normal(0, 0.1, 4000).astype(np.float32)
    whole = spectrum.log_mel(samples, RATE, WINDOW, HOP, MELS)
    np.testing.assert_array_equal(spectrum.log_mel(samples[:2000], RATE, WINDOW, HOP, MELS), whole[:11])


@pytest.mark.parametrize(("mels", "coefficients"), [(64, 20), (64, 64), (20, 13), (40, 1)])
def test_a_cepstrum_is_the_orthonormal_dct_of_the_log_mel_frames(mels, coefficients):
    samples = (np.random.default_rng(4).normal(0, 1, 3000) * np.geomspace(0.5, 1e-3, 3000)).astype(np.float32)
    cepstrum = spectrum.mfcc(samples, RATE, WINDOW, HOP, mels, coefficients)
    assert cepstrum.dtype == np.float16
    assert cepstrum.shape == (17, coefficients)
    slow = slow_log_mel(samples, RATE, WINDOW, HOP, mels)
    expected = fft.dct(slow, type=2, norm="ortho", axis=1)[:, :coefficients]
    np.testing.assert_allclose(cepstrum, expected, atol=4e-3, rtol=1e-3)  # float16: half a step at 8 is 0.004
    m, k = np.arange(mels), coefficients - 1
    by_hand = math.sqrt((2 if k else 1) / mels) * (slow * np.cos(np.pi * k * (m + 0.5) / mels)).sum(1)
    np.testing.assert_allclose(cepstrum[:, k], by_hand, atol=4e-3, rtol=1e-3)


def test_loudness_is_the_first_coefficient_alone():
    samples = np.random.default_rng(5).normal(0, 0.02, 4000).astype(np.float32)
    quiet, loud = (spectrum.mfcc(level * samples, RATE, WINDOW, HOP, MELS, 20).astype(float) for level in (1, 4))
    louder = math.sqrt(MELS) * 2 * math.log(4) / spectrum.LOG_SCALE
    np.testing.assert_allclose((loud - quiet)[:, 0], louder, atol=0.02)
    np.testing.assert_allclose(loud[:, 1:], quiet[:, 1:], atol=0.01)
