"""Log-mel frames of a sound, and their cepstrum (MFCC), in numpy.

The mel scale and its filters are those of M. Slaney, "Auditory Toolbox" (Interval Research, 1998), as librosa
computes them by default: ``librosa.feature.melspectrogram(center=False, htk=False, norm="slaney")``.
"""

import functools

import numpy as np

FLOOR = 1e-8  # power that counts as silence; ln -18.4, between the noise of 16 bits and that of a quiet room
LOG_MEAN, LOG_SCALE = -10.8, 3.7  # of ln power in recordings of speech, music and products at 16 kHz

# The mel scale is linear below 1 kHz, where a mel is 200/3 Hz, and logarithmic above: 27 mels are a factor of 6.4.
_HZ_PER_MEL, _BREAK_HZ, _BREAK_MEL, _LOG_STEP = 200 / 3, 1000.0, 15.0, np.log(6.4) / 27


def log_mel(samples: np.ndarray, sample_rate: int, window: int, hop: int, mels: int) -> np.ndarray:
    """How loud each band of a sound is over time, in about zero mean and unit scale.

    Args:
      samples: float32 [n], about -1 to 1; fewer than `window` are filled up with zeros.
      sample_rate: samples per second.
      window: samples in a frame, weighted by a Hann window.
      hop: samples from one frame to the next; what does not fill a frame at the end is left out.
      mels: bands, from 0 Hz to half the sample rate.

    Returns:
      float16 [1 + max(0, n - window) // hop, mels]: (ln max(power, FLOOR) - LOG_MEAN) / LOG_SCALE.
    """
    return _log_mel(samples, sample_rate, window, hop, mels).astype(np.float16)


def mfcc(samples: np.ndarray, sample_rate: int, window: int, hop: int, mels: int, coefficients: int) -> np.ndarray:
    """Mel-frequency cepstral coefficients (Davis and Mermelstein, IEEE ASSP 28(4), 1980): the shape of each spectrum.

    Args:
      samples, sample_rate, window, hop, mels: as for `log_mel`.
      coefficients: how many, from c[0], the loudness, onwards; at most `mels`.

    Returns:
      float16 [1 + max(0, n - window) // hop, coefficients]: with x[m] what `log_mel` gives before it is rounded,
      c[k] = s[k] * sum over m of x[m] * cos(pi * k * (m + 1/2) / mels), s[0] = sqrt(1 / mels), s[k > 0] =
      sqrt(2 / mels): the orthonormal DCT-II. Of all `mels` coefficients the sum of squares is that of x.
    """
    frames = _log_mel(samples, sample_rate, window, hop, mels)
    return (frames @ _cosines(mels)[:, :coefficients]).astype(np.float16)


def _log_mel(samples: np.ndarray, sample_rate: int, window: int, hop: int, mels: int) -> np.ndarray:
    """What `log_mel` gives, not yet rounded."""
    if len(samples) < window:
        samples = np.pad(samples, (0, window - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]
    spectrum = np.fft.rfft(frames * _hann(window))
    power = (spectrum.real**2 + spectrum.imag**2) @ mel_filters(sample_rate, window, mels)
    return (np.log(np.maximum(power, FLOOR)) - LOG_MEAN) / LOG_SCALE


@functools.cache
def mel_filters(sample_rate: int, window: int, mels: int) -> np.ndarray:
    """Overlapping triangles, evenly spaced in mel, each of area 1 over frequency in Hz.

    Returns:
      float32 [window // 2 + 1, mels], read-only.
    """
    bins = np.arange(window // 2 + 1)[:, None] * sample_rate / window
    edges = mel_to_hz(np.linspace(0.0, hz_to_mel(sample_rate / 2), mels + 2))
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    filters = (np.maximum(triangles, 0.0) * 2.0 / (high - low)).astype(np.float32)
    filters.flags.writeable = False
    return filters


def hz_to_mel(hz: float) -> float:
    """A frequency on Slaney's mel scale."""
    return hz / _HZ_PER_MEL if hz < _BREAK_HZ else _BREAK_MEL + np.log(hz / _BREAK_HZ) / _LOG_STEP


def mel_to_hz(mel: np.ndarray) -> np.ndarray:
    """Frequencies from Slaney's mel scale."""
    return np.where(mel < _BREAK_MEL, mel * _HZ_PER_MEL, _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL)))


@functools.cache
def _hann(window: int) -> np.ndarray:
    """The periodic Hann window, float32 [window]."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)


@functools.cache
def _cosines(bands: int) -> np.ndarray:
    """The orthonormal DCT-II, float64 [band, coefficient]: its columns have length 1 and right angles."""
    cosines = np.cos(np.pi / bands * np.outer(np.arange(bands) + 0.5, np.arange(bands)))
    return cosines * np.sqrt(np.where(np.arange(bands), 2.0, 1.0) / bands)
