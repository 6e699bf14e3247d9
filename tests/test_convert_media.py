"""How a listing's clip and sound are kept: a cepstrum, frames a second, and the sound of a film."""

import numpy as np
import pytest
from media_files import film, sound, tone
from small import small_config

from m5jax import media
from m5jax.catalogues import catalogue
from m5jax.data.records import RecordCodec
from m5jax.errors import ConfigError
from m5jax.inputs import recorded
from m5jax.media import spectrum
from m5jax.modalities import State
from m5jax.preparing import convert
from m5jax.preparing.convert import Task
from m5jax.token_spec import token_specs

INPUTS = small_config().inputs


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A catalogue's folder with films that have a sound track, have none, have next to none, and are cut."""
    folder, sounding = tmp_path_factory.mktemp("media"), film("matroska", samples=tone(48000, 2))
    for name, data in {
        "audio": sound("WAV"),
        "cut-audio": sound("WAV")[:5000],
        "video": film(),
        "sounding": sounding,
        "cut-sounding": sounding[: len(sounding) // 2],
        "click": film("matroska", samples=tone(48000, 0.02), audio="pcm_s16le"),
        "gif": film("gif", codec="gif"),
        "nothing": b"",
    }.items():
        (folder / name).write_bytes(data)
    return folder


def listing(**fields):
    return catalogue.parse({"id": "x", "split": "train"} | fields)


def test_a_sound_may_be_kept_as_its_cepstrum(root):
    inputs = small_config(inputs__audio__representation="mfcc", inputs__audio__coefficients=13).inputs
    record = convert.convert(listing(audios="audio"), root, inputs).record
    assert record is not None
    samples = media.decode_audio((root / "audio").read_bytes(), 16000, (400 + 15 * 160) / 16000)
    np.testing.assert_array_equal(record.audio, spectrum.mfcc(samples, 16000, 400, 160, 16, 13))
    np.testing.assert_array_equal(RecordCodec(inputs).decode(RecordCodec(inputs).encode(record)).audio, record.audio)
    assert token_specs(inputs)["audio"].grid == (16, 13, 1)
    assert recorded(inputs) != recorded(INPUTS)
    with pytest.raises(ConfigError, match=r"coefficients = 17 must be at most config.inputs.audio.mels = 16"):
        small_config(inputs__audio__representation="mfcc", inputs__audio__coefficients=17)


def test_frames_may_be_so_many_a_second(root):
    inputs = small_config(inputs__video__per_second=1.0).inputs
    record = convert.convert(listing(videos="video"), root, inputs).record
    assert record is not None
    assert media.decode_jpeg(record.video).shape == (2 * 16, 16, 3)  # of two seconds
    assert recorded(inputs) != recorded(INPUTS)


@pytest.mark.parametrize(
    ("row", "states", "lost"),
    [
        ({"videos": "sounding"}, (State.PRESENT, State.PRESENT), None),
        ({"videos": "video"}, (State.PRESENT, State.ABSENT), None),
        ({"videos": "gif"}, (State.PRESENT, State.ABSENT), None),
        ({"videos": "video", "audios": "audio"}, (State.PRESENT, State.PRESENT), None),
        ({"videos": "sounding", "audios": "cut-audio"}, (State.PRESENT, State.CORRUPT), ("audio", "cut-audio")),
        ({"videos": "cut-sounding"}, (State.CORRUPT, State.ABSENT), ("video", "cut-sounding")),
        ({"videos": "nothing"}, (State.EMPTY, State.ABSENT), ("video", "nothing")),
        ({"videos": "click"}, (State.PRESENT, State.CORRUPT), ("audio", "click")),
    ],
)
def test_a_listing_without_a_sound_has_that_of_its_film(root, row, states, lost):
    conversion = convert.convert(listing(title="a shoe", **row), root, INPUTS)
    assert conversion.record is not None
    assert (conversion.record.state("video"), conversion.record.state("audio")) == states
    assert [(why.modality, why.file) for why in conversion.rejections] == ([lost] if lost else [])
    assert Task(listing(**row), root, INPUTS).media == ["video", "audio"]


def test_where_the_sound_of_a_film_comes_from_and_where_not(root):
    row = listing(title="a shoe", videos="sounding")
    record = convert.convert(row, root, INPUTS).record
    assert record is not None
    samples = media.decode_audio((root / "sounding").read_bytes(), 16000, (400 + 15 * 160) / 16000)
    np.testing.assert_array_equal(record.audio, spectrum.log_mel(samples, 16000, 400, 160, 16))
    alone = small_config(inputs__modalities=("text", "audio")).inputs
    sound_only = convert.convert(row, root, alone).record
    assert sound_only is not None
    np.testing.assert_array_equal(sound_only.audio, record.audio)
    (why,) = convert.convert(listing(title="a shoe", videos="cut-sounding"), root, alone).rejections
    assert (why.modality, why.file) == ("audio", "cut-sounding")
    for changes in ({"inputs__audio__from_video": False}, {"inputs__audio__source": "features"}):
        inputs = small_config(**changes).inputs
        without = convert.convert(row, root, inputs)
        assert without.record is not None
        assert without.record.state("audio") == State.ABSENT
        assert without.rejections == ()
        assert Task(row, root, inputs).media == ["video"]
