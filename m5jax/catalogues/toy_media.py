"""The media of the embedded catalogue (catalogues/toy.py): product drawings, clips and sounds as file bytes.

Every function is pure: the same arguments give the same bytes. A picture tells category and colour, a clip
category and motion (it films an unpainted grey model), a sound department and pitch; nothing else is in them.
"""

import colorsys
import dataclasses
import io
import wave

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from m5jax.catalogues import toy_shapes

PICTURE_SIDE, CLIP_SIDE = 96, 64  # pixels
CLIP_RATE = 8  # frames per second
SAMPLE_RATE = 16_000  # samples per second
SUPERSAMPLE = 3  # drawn so much larger, then reduced: smooth edges

# Hue in degrees, saturation and value in 0..1. Neighbours are told apart by hue alone.
COLOURS = {
    "red": (0, 0.80, 0.86),
    "orange": (26, 0.88, 0.96),
    "yellow": (52, 0.82, 0.96),
    "green": (122, 0.58, 0.68),
    "teal": (178, 0.75, 0.66),
    "blue": (216, 0.75, 0.88),
    "purple": (270, 0.55, 0.78),
    "pink": (328, 0.48, 0.96),
}
UNPAINTED = (210, 0.05, 0.6)
# A third of an octave apart: neighbours fall into different mel bands even at the low end.
PITCHES = (300, 378, 476, 600, 756, 952, 1200, 1512)  # Hz


@dataclasses.dataclass(frozen=True)
class View:
    """How a listing is photographed or filmed.

    Attributes:
      x, y: shift of the product, share of the side.
      scale: size of the product over the side.
      angle: rotation, degrees clockwise.
      light: where the light comes from, degrees.
      backdrop: hue of the background, degrees.
    """

    x: float
    y: float
    scale: float
    angle: float
    light: float
    backdrop: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "View":
        """One view out of all of them."""
        return cls(
            x=rng.uniform(-0.07, 0.07),
            y=rng.uniform(-0.07, 0.07),
            scale=rng.uniform(0.68, 0.92),
            angle=rng.uniform(-14, 14),
            light=rng.uniform(0, 360),
            backdrop=rng.uniform(0, 360),
        )

    def moved(self, x: float = 0.0, y: float = 0.0, scale: float = 1.0, angle: float = 0.0) -> "View":
        """The same view after the product moved."""
        return dataclasses.replace(self, x=self.x + x, y=self.y + y, scale=self.scale * scale, angle=self.angle + angle)


@dataclasses.dataclass(frozen=True)
class Take:
    """How a listing is photographed, filmed and recorded: what its media do not share with those of its product.

    Attributes:
      picture, clip: where camera and light stand.
      frames: length of the clip.
      cycles: how often the motion repeats in the clip.
      phase: where in its cycle the motion begins, 0..1.
      seconds: length of the sound.
      start: seconds of the first strike that have gone by when the sound begins.
      sound: how the sound is coded, "wav" or "m4a".
    """

    picture: View
    clip: View
    frames: int
    cycles: float
    phase: float
    seconds: float
    start: float
    sound: str

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Take":
        """One take out of all of them."""
        return cls(
            picture=View.draw(rng),
            clip=View.draw(rng),
            frames=int(rng.integers(14, 19)),
            cycles=rng.uniform(1.2, 1.8),
            phase=rng.uniform(),
            seconds=rng.uniform(0.9, 1.2),
            start=rng.uniform(0, 0.1),
            sound=("wav", "m4a")[rng.integers(2)],
        )


def _sine(phase: float) -> float:
    return float(np.sin(2 * np.pi * phase))


# What a clip shows the product doing, as a function of the phase in cycles.
MOTIONS = {
    "slide": lambda view, phase: view.moved(x=0.2 * _sine(phase)),
    "bounce": lambda view, phase: view.moved(y=0.16 - 0.36 * abs(_sine(phase / 2))),
    "spin": lambda view, phase: view.moved(angle=360 * phase),
    "swing": lambda view, phase: view.moved(angle=35 * _sine(phase)),
    "pulse": lambda view, phase: view.moved(scale=1 + 0.4 * _sine(phase)),
    "orbit": lambda view, phase: view.moved(x=0.18 * _sine(phase), y=0.18 * _sine(phase + 0.25)),
}


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value))
    return red, green, blue


def _photograph(category: str, colour: tuple[float, float, float], view: View, side: int) -> np.ndarray:
    """The product before its backdrop, with light and shadow: uint8 [side, side, 3]."""
    hue, saturation, value = colour
    tones = {
        "body": (*_rgb(hue, saturation, value), 255),
        "shade": (*_rgb(hue, saturation, value * 0.78), 255),
        "shine": (*_rgb(hue, saturation * 0.55, min(1.0, value * 1.12)), 255),
        "trim": (62, 64, 72, 255),
        "pale": (236, 236, 232, 255),
        "gap": (0, 0, 0, 0),
    }
    large, turn = side * SUPERSAMPLE, np.radians(view.angle)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    layer = Image.new("RGBA", (large, large))
    pen = ImageDraw.Draw(layer)
    for tone, points in toy_shapes.outlines(category):
        placed = (points * view.scale @ rotation + [0.5 + view.x, 0.5 + view.y]) * large
        pen.polygon([tuple(point) for point in placed.tolist()], fill=tones[tone])
    layer = layer.reduce(SUPERSAMPLE)

    towards = np.radians(view.light)
    dx, dy = np.cos(towards), np.sin(towards)
    x, y = np.meshgrid(*[np.linspace(-1, 1, side)] * 2)
    light = 1 + 0.07 * (x * dx + y * dy)[..., None]
    shadow = Image.new("L", (side, side))
    shadow.paste(layer.getchannel("A"), (-round(0.04 * side * dx), -round(0.04 * side * dy)))
    shade = np.asarray(shadow.filter(ImageFilter.GaussianBlur(side / 40)), float)[..., None] / 255
    backdrop = np.array(_rgb(view.backdrop, 0.06, 0.95)) * (1 - 0.25 * shade)
    pixels = np.asarray(layer, float)
    alpha = pixels[..., 3:] / 255
    return np.clip((backdrop * (1 - alpha) + pixels[..., :3] * alpha) * light, 0, 255).astype(np.uint8)


def picture(category: str, colour: str, view: View) -> bytes:
    """A JPEG of 96 x 96 pixels."""
    file = io.BytesIO()
    Image.fromarray(_photograph(category, COLOURS[colour], view, PICTURE_SIDE)).save(file, "JPEG", quality=90)
    return file.getvalue()


def clip(category: str, motion: str, take: Take) -> bytes:
    """An MP4: H.264, 64 x 64 pixels, 8 frames per second."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        # One thread and no lookahead (zerolatency): with it, equal frames this small gave unequal bytes now and then.
        options = {"preset": "veryfast", "tune": "zerolatency", "crf": "22", "threads": "1"}
        stream = container.add_stream("libx264", CLIP_RATE, options=options)
        stream.width = stream.height = CLIP_SIDE
        stream.pix_fmt = "yuv420p"
        # Smaller and nearer to the middle than in a picture, to have room to move.
        still = dataclasses.replace(take.clip, x=take.clip.x / 2, y=take.clip.y / 2, scale=take.clip.scale * 0.75)
        for step in range(take.frames):
            pose = MOTIONS[motion](still, take.phase + take.cycles * step / take.frames)
            frame = av.VideoFrame.from_ndarray(_photograph(category, UNPAINTED, pose, CLIP_SIDE), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


@dataclasses.dataclass(frozen=True)
class Timbre:
    """What makes the sound of a department: strikes of a few partials.

    Attributes:
      partials: amplitude of the fundamental and its multiples; the fundamental is the loudest.
      period: seconds from one strike to the next.
      attack: seconds a strike takes to rise.
      decay: how fast it dies away, 1/s.
      breath: amplitude of the noise that sounds with it.
    """

    partials: tuple[float, ...]
    period: float
    attack: float
    decay: float
    breath: float = 0.0


TIMBRES = {
    "Kitchen": Timbre((1, 0.2, 0.4, 0.1, 0.2), period=2.0, attack=0.005, decay=3),  # a struck glass
    "Furniture": Timbre((1, 0.3), period=0.3, attack=0.005, decay=16, breath=0.1),  # knocking on wood
    "Fashion": Timbre((1, 0.05), period=2.0, attack=0.4, decay=0.5),  # a hum that swells
    "Electronics": Timbre((1, 0, 0.6, 0, 0.4), period=0.25, attack=0.01, decay=7),  # beeps
    "Toys": Timbre((1, 0.7, 0.5, 0.3), period=0.11, attack=0.05, decay=4),  # a trill
    "Garden": Timbre((1, 0.5, 0.2), period=2.0, attack=0.05, decay=0.2, breath=0.3),  # wind in a pipe
}


def sound(department: str, pitch: float, take: Take, rng: np.random.Generator) -> bytes:
    """A WAV or M4A file, mono at 16 kHz: the department's timbre at `pitch` Hz; `rng` draws its noise."""
    timbre = TIMBRES[department]
    t = np.arange(round(take.seconds * SAMPLE_RATE)) / SAMPLE_RATE
    since = (t + take.start) % timbre.period
    strike = np.minimum(1, since / timbre.attack) * np.exp(-timbre.decay * since)
    tone = sum(a * np.sin(2 * np.pi * pitch * k * t) for k, a in enumerate(timbre.partials, start=1))
    noise = rng.standard_normal(t.size)
    loudness = 0.6 / sum(timbre.partials)
    samples = loudness * strike * (tone + timbre.breath * noise) + 0.004 * noise
    encode = _wav if take.sound == "wav" else _m4a
    return encode(samples.clip(-1, 1).astype(np.float32))


def _wav(samples: np.ndarray) -> bytes:
    """Mono samples in -1..1 as a WAV of 16-bit integers."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes((samples * 32767).astype("<i2").tobytes())
    return file.getvalue()


def _m4a(samples: np.ndarray) -> bytes:
    """Mono samples in -1..1 as AAC at 64 kbit/s in an MP4 container."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", SAMPLE_RATE, layout="mono", bit_rate=64_000)
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()
