"""One listing to one record: four states, never merged, and every loss with its reason."""

import dataclasses
import pickle

import numpy as np
import pytest
from media_files import film, picture, scene, sound
from small import small_config

from m5jax import media, modalities
from m5jax.catalogues import catalogue
from m5jax.catalogues.catalogue import Rejection
from m5jax.data.records import RecordCodec
from m5jax.media import files, spectrum
from m5jax.media.files import MediaRef
from m5jax.media.pool import Failure
from m5jax.modalities import State
from m5jax.preparing import convert
from m5jax.preparing.convert import Task

INPUTS = small_config().inputs
GRIDS = ("image", "video", "audio")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A catalogue's folder with one good and one broken file of each medium."""
    folder = tmp_path_factory.mktemp("media")
    whole = {"image": picture("PNG", scene(40, 30)), "video": film(), "audio": sound("WAV")}
    for name, data in whole.items():
        (folder / name).write_bytes(data)
        (folder / f"cut-{name}").write_bytes(data[: len(data) // 2])
        rows = np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)
        np.save(folder / f"{name}.npy", rows)
        np.save(folder / f"other-{name}.npy", rows[:, :5])
    (folder / "nothing").touch()
    return folder


def listing(**fields):
    return catalogue.parse({"id": "x", "split": "train"} | fields)


def whole_listing():
    return listing(
        source="shop",
        instance_id="p",
        category=["goods", "shoe"],
        title=" A shoe\n",
        description="Red.",
        attributes=[[" colour ", "red"], ["size", 42], ["", ""]],
        images=["image", "never.jpg"],
        videos="video",
        audios="audio",
    )


def features(**changes):
    sources = {f"inputs__{name}__source": "features" for name in GRIDS}
    dims = {f"inputs__{name}__feature_dim": 16 for name in GRIDS}
    return small_config(**sources, **dims, **changes).inputs


def test_a_record_holds_what_decoding_by_hand_gives(root):
    conversion = convert.convert(whole_listing(), root, INPUTS)
    record = conversion.record
    assert conversion.rejections == ()
    assert record is not None
    assert (record.id, record.source, record.instance_id) == ("x", "shop", "p")
    assert record.category == ("goods", "shoe")
    assert record.states == (State.PRESENT,) * 5
    assert (record.title, record.description) == ("A shoe", "Red.")
    assert record.fields == (("colour", "red"), ("size", "42"))
    pixels = media.decode_image((root / "image").read_bytes(), INPUTS.image.stored_size)
    assert record.image == media.encode_jpeg(pixels)
    frames = media.decode_video((root / "video").read_bytes(), 4, 16)
    assert record.video == media.encode_jpeg(np.concatenate(list(frames)))
    seconds = (400 + 15 * 160) / 16000  # what 16 frames of 400 samples, 160 apart, need
    samples = media.decode_audio((root / "audio").read_bytes(), 16000, seconds)
    np.testing.assert_array_equal(record.audio, spectrum.log_mel(samples, 16000, 400, 160, 16))
    assert len(record.audio) == 16


def test_features_are_taken_as_they_are(root):
    inputs = features(inputs__image__feature_rows=36, inputs__video__feature_rows=12)
    refs = {"images": "image.npy", "videos": "video.npy", "audios": "audio.npy"}
    record = convert.convert(listing(**refs), root, inputs).record
    assert record is not None
    saved = np.load(root / "image.npy").astype(np.float16)
    for name, rows in (("image", 36), ("video", 12), ("audio", 50)):
        np.testing.assert_array_equal(getattr(record, name), saved[:rows])
    lost = convert.convert(listing(title="x", images="other-image.npy", videos="video"), root, inputs).rejections
    assert [(row.modality, row.reason) for row in lost] == [("image", "wrong_shape"), ("video", "format_not_allowed")]


def test_rows_of_which_no_class_is_known_are_kept_and_noted(tmp_path):
    rows = np.random.default_rng(0).random((4, 16 + 3))
    rows[1, 16:] = 0
    for name, array in (("known.npy", rows[2:]), ("some.npy", rows)):
        np.save(tmp_path / name, array)
    inputs = features(inputs__image__classes=3, inputs__image__feature_rows=3)
    known = convert.convert(listing(images="known.npy"), tmp_path, inputs)
    assert known.record is not None
    assert (known.record.image.shape, known.rejections) == ((2, 19), ())
    some = convert.convert(listing(images="some.npy"), tmp_path, inputs)
    assert some.record is not None
    assert some.record.state("image") == State.PRESENT
    assert [(note.reason, note.lost) for note in some.rejections] == [("too_many_rows", False), ("no_classes", False)]
    assert some.rejections[1].detail.startswith("1 of 3 rows")


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize(
    ("file", "state", "reason"),
    [
        (None, State.ABSENT, ""),
        ("", State.PRESENT, ""),
        ("nothing", State.EMPTY, "empty"),
        ("cut", State.CORRUPT, None),
        ("missing", State.CORRUPT, "missing_file"),
        ("../outside", State.CORRUPT, "outside_root"),
    ],
)
def test_states_of_a_medium(root, name, file, state, reason):
    path = {"": name, "cut": f"cut-{name}"}.get(file, file)
    conversion = convert.convert(listing(title="a shoe", **{f"{name}s": path}), root, INPUTS)
    record = conversion.record
    assert record is not None
    assert record.state(name) == state
    assert record.state("text") == State.PRESENT
    assert len(getattr(record, name)) == 0 or state == State.PRESENT
    if state in (State.ABSENT, State.PRESENT):
        assert conversion.rejections == ()
        return
    (rejection,) = conversion.rejections
    assert (rejection.id, rejection.modality, rejection.file, rejection.line) == ("x", name, path, 0)
    assert rejection.reason in media.REASONS if reason is None else rejection.reason == reason
    assert rejection.detail


@pytest.mark.parametrize(
    ("title", "description", "state"),
    [
        (None, None, State.ABSENT),
        ("", None, State.EMPTY),
        (None, " \n\t\u3000", State.EMPTY),
        ("\u200b\ufeff", "\u200f\u00ad\x00", State.EMPTY),
        (None, "Red.", State.PRESENT),
        ("鞋", "", State.PRESENT),
        ("🥿", None, State.PRESENT),
    ],
)
def test_states_of_text(root, title, description, state):
    record = convert.convert(listing(title=title, description=description, images="image"), root, INPUTS).record
    assert record is not None
    assert record.state("text") == state
    assert bool(record.title or record.description) == (state == State.PRESENT)


@pytest.mark.parametrize(
    ("table", "state", "fields"),
    [
        (None, State.ABSENT, ()),
        ([], State.EMPTY, ()),
        ([["", " "], ["\u200b", ""]], State.EMPTY, ()),
        ({"colour": None}, State.EMPTY, ()),
        ([["colour", ""]], State.EMPTY, ()),
        ([["heel", "\u200b"], ["c", "red"]], State.PRESENT, (("c", "red"),)),
        ([["", " red "], ["", ""]], State.PRESENT, (("", "red"),)),
        ([["a", "1"], ["a", "1"]], State.PRESENT, (("a", "1"), ("a", "1"))),
    ],
)
def test_states_of_a_table(root, table, state, fields):
    record = convert.convert(listing(attributes=table, images="image"), root, INPUTS).record
    assert record is not None
    assert record.state("table") == state
    assert record.fields == fields


def test_names_without_value_are_noted_and_null_says_that_there_is_none(root):
    table = [["heel", ""], ["sole", "\u200b"], ["c", "red"], ["lining", None], ["", ""], ["", "x"]]
    (note,) = convert.convert(listing(attributes=table), root, INPUTS).rejections
    assert note == Rejection("x", "field_without_value", "2 left out: heel, sole", modality="table", lost=False)
    without = small_config(inputs__modalities=("text",)).inputs
    assert convert.convert(listing(title="x", attributes=table), root, without).rejections == ()


def test_what_reading_found_unusable_is_corrupt_and_costs_no_more(root):
    why = Rejection("x", "invalid_field", "title must be a string", modality="text")
    whole = dataclasses.replace(whole_listing(), title=None, description=None, corrupt=(why,))
    conversion = convert.convert(whole, root, INPUTS)
    assert conversion.rejections == (why,)
    assert conversion.record is not None
    assert {name for name in modalities.NAMES if conversion.record.state(name) != State.PRESENT} == {"text"}
    assert conversion.record.state("text") == State.CORRUPT
    alone = convert.convert(dataclasses.replace(listing(), corrupt=(why,)), root, INPUTS)
    assert alone.record is None
    assert [row.detail for row in alone.rejections] == [why.detail, "text corrupt"]
    out_of_use = small_config(inputs__modalities=("table",)).inputs
    assert convert.convert(whole, root, out_of_use).rejections == ()


def test_a_listing_with_nothing_present_is_no_record_but_leaves_its_reasons(root):
    lost = listing(title=" ", images="cut-image", audios="nothing", videos="missing")
    record, rejections = convert.convert(lost, root, INPUTS).record, convert.convert(lost, root, INPUTS).rejections
    assert record is None
    assert [row.modality for row in rejections] == ["image", "video", "audio", ""]
    assert rejections[-1].reason == "nothing_present"
    assert rejections[-1].detail == "image corrupt, text empty, video corrupt, audio empty"
    nothing = convert.convert(listing(), root, INPUTS)
    assert nothing.record is None
    assert nothing.rejections == (Rejection("x", "nothing_present", "every modality in use is absent"),)


def test_modalities_out_of_use_are_not_even_read(root, monkeypatch):
    read = []
    monkeypatch.setattr(files, "read", lambda root, ref, limit: read.append(ref) or b"")
    inputs = small_config(inputs__modalities=("image", "text")).inputs
    record = convert.convert(whole_listing(), root, inputs).record
    assert record is not None
    assert read == [MediaRef("image")]
    in_use = {"image": State.EMPTY, "text": State.PRESENT}
    assert {name: record.state(name) for name in modalities.NAMES} == {
        name: in_use.get(name, State.ABSENT) for name in modalities.NAMES
    }
    assert record.fields == ()


def test_a_file_that_ends_its_decoder_is_not_touched_again(root, monkeypatch):
    read = []
    monkeypatch.setattr(files, "read", lambda root, ref, limit: read.append(ref.path) or (root / ref.path).read_bytes())
    broken = {"video": Failure("decoder_crashed", "the decoding process ended with exit code -11")}
    conversion = convert.convert(whole_listing(), root, INPUTS, broken)
    assert conversion.record is not None
    assert read == ["image", "audio"]
    assert conversion.record.state("video") == State.CORRUPT
    assert [conversion.record.state(name) for name in ("image", "audio")] == [State.PRESENT] * 2
    (rejection,) = conversion.rejections
    assert rejection == Rejection("x", "decoder_crashed", broken["video"].detail, modality="video", file="video")


def test_running_out_of_memory_costs_the_file(root, monkeypatch):
    def exhausted(*arguments):
        raise MemoryError

    monkeypatch.setattr(files, "read", exhausted)
    conversion = convert.convert(listing(title="x", images="image"), root, INPUTS)
    assert [row.reason for row in conversion.rejections] == ["too_large"]


def test_conversion_is_pure(root):
    codec, first = RecordCodec(INPUTS), convert.convert(whole_listing(), root, INPUTS).record
    task = pickle.loads(pickle.dumps(Task(whole_listing(), root, INPUTS)))  # noqa: S301 (our own bytes)
    again = convert.run_task(task).record
    assert first is not None
    assert again is not None
    assert codec.encode(first) == codec.encode(again)


def test_a_task_knows_its_media_and_a_probe_forgives_what_a_decoder_refuses(root):
    task = Task(listing(title="x", images="cut-image", audios="audio"), root, INPUTS)
    assert task.media == ["image", "audio"]
    assert Task(whole_listing(), root, small_config(inputs__modalities=("text", "video")).inputs).media == ["video"]
    for name in task.media:
        convert.probe(Task(task.listing, root, INPUTS, only=name))
