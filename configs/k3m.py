"""K3M on the embedded catalogue: pictures, titles, and tables as graphs of knowledge.

python -m m5jax.main --config configs/k3m.py
python -m m5jax.main --config configs/k3m.py:video_audio

The first is the paper's K3M (`presets.k3m_paper`), small; the second has clips and sounds as further partners of the
title. Full size: configs/k3m_base.py.
"""

from m5jax import config, presets

SEEN = {"paper": ("image", "text", "table"), "video_audio": ("image", "text", "table", "video", "audio")}


def get_config(preset="paper"):
    c = config.default()
    presets.k3m_paper(c)
    presets.embedded_size(c)
    c.workdir = f"runs/k3m_{preset}"
    c.inputs.modalities, c.inputs.record = SEEN[preset], SEEN["video_audio"]
    if preset == "video_audio":
        c.objective.masked_frame = c.objective.masked_audio = 1.0
    return c
