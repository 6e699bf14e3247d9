"""From a record to arrays: static shapes, nothing of what is not present, and the same for the same generator."""

import numpy as np
import pytest
from conftest import jpeg
from small import small_config
from test_tokenizer import trained, wordpiece

from m5jax.data.records import DAMAGED, Record
from m5jax.data.transforms import Transform, _jittered
from m5jax.modalities import State

PIXELS = np.random.default_rng(0).integers(0, 256, (18, 18, 3)).astype(np.uint8)
WHOLE = Record(
    id="whole",
    states=(State.PRESENT,) * 5,
    title="red shoe number 7",
    description="blue shirt",
    fields=(("colour", "red"), ("size", "4"), ("kind", "shoe")),
    image=jpeg(PIXELS),
    video=jpeg(np.concatenate([np.full((16, 16, 3), 60 * frame, np.uint8) for frame in range(3)])),
    audio=np.random.default_rng(1).normal(size=(11, 16)).astype(np.float16),
)
NAMES = ("image", "text", "table", "video", "audio")


@pytest.fixture(scope="module", params=[trained, wordpiece], ids=lambda make: make.__name__)
def words(request, tmp_path_factory):
    """A tokenizer of either kind."""
    return request.param(tmp_path_factory.mktemp("words"))


def transform(words, **changes):
    return Transform(small_config(**changes).inputs, words)


def flat(arrays, prefix=""):
    for name, value in arrays.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def rng(seed=0):
    return np.random.default_rng(seed)


def test_shapes_and_dtypes_do_not_depend_on_the_record(words):
    chosen = transform(words)
    nothing = Record(id="nothing", states=(State.CORRUPT, State.EMPTY, State.ABSENT, State.ABSENT, State.ABSENT))
    for make in (chosen.evaluation, lambda record: chosen.training(record, rng())):
        shapes = {
            tuple((name, np.shape(value), np.asarray(value).dtype) for name, value in flat(make(record)))
            for record in (WHOLE, nothing, DAMAGED)
        }
        assert len(shapes) == 1


def test_of_a_damaged_record_and_of_what_is_not_present_nothing_is_shown(words):
    chosen = transform(words)
    damaged = chosen.evaluation(DAMAGED)
    assert not damaged["valid"]
    hidden = Record(**{f: getattr(WHOLE, f) for f in WHOLE.__dataclass_fields__} | {"states": (State.CORRUPT,) * 5})
    for arrays in (damaged, chosen.evaluation(hidden)):
        for name in NAMES:
            assert not arrays[name]["mask"].any()
            assert not np.any(arrays[name].get("values", 0))
            assert np.all(arrays[name].get("ids", words.special.pad) == words.special.pad)


def test_as_released_zeros_stand_for_what_is_missing_but_not_for_a_damaged_record(words):
    chosen = transform(words, inputs__missing="zeros")
    arrays = chosen.training(Record(id="nothing"), rng())
    for name, spec in chosen.specs.items():
        if spec.kind == "tokens":
            assert list(arrays[name]["ids"][:2]) == [words.special.cls, words.special.sep]
            assert arrays[name]["mask"].sum() == 2
        else:
            assert arrays[name]["mask"].all()
            assert arrays[name]["masked"]["valid"].any()
            assert not arrays[name]["values"].any()
    damaged = chosen.training(DAMAGED, rng())
    assert not any(damaged[name]["mask"].any() for name in NAMES)
    np.testing.assert_array_equal(
        chosen.evaluation(WHOLE)["image"]["values"], transform(words).evaluation(WHOLE)["image"]["values"]
    )


def test_text_is_cls_title_sep_description_sep(words):
    arrays = transform(words, inputs__text__length=40).evaluation(WHOLE)["text"]
    expected = [words.special.cls, *words.encode(WHOLE.title), words.special.sep]
    expected += [*words.encode(WHOLE.description), words.special.sep]
    assert arrays["ids"][arrays["mask"]].tolist() == expected
    cut = transform(words, inputs__text__length=6).evaluation(WHOLE)["text"]
    assert cut["ids"].tolist() == [*expected[:5], words.special.sep]


def test_a_table_is_names_and_values_in_its_own_order_and_shuffled_only_in_training(words):
    chosen = transform(words, inputs__table__length=60, inputs__mask_rate=0.0)
    special = words.special
    expected = [special.cls]
    for name, value in WHOLE.fields:
        expected += [special.name, *words.encode(name), special.value, *words.encode(value)]
    expected.append(special.sep)
    arrays = chosen.evaluation(WHOLE)["table"]
    assert arrays["ids"][arrays["mask"]].tolist() == expected
    orders = {tuple(chosen.training(WHOLE, rng(seed))["table"]["ids"]) for seed in range(40)}
    assert len(orders) == 6  # of three fields
    assert {tuple(sorted(order)) for order in orders} == {tuple(sorted(arrays["ids"]))}


def test_entities_are_whole_names_and_values_that_were_not_cut(words):
    for length in (8, 12, 16, 60):
        chosen = transform(words, inputs__table__length=length, inputs__mask_rate=0.3)
        for seed in range(20):
            table = chosen.training(WHOLE, rng(seed))["table"]
            positions = table["masked"]["positions"][table["masked"]["valid"]]
            special = words.special
            assert (table["ids"][positions] == special.mask).all()
            assert not words.is_special[table["masked"]["targets"][table["masked"]["valid"]]].any()
            markers = {special.name, special.value, special.sep, special.pad}
            for position in positions:  # what lies beside a masked piece is masked too, or ends the entity
                left, right = table["ids"][position - 1], table["ids"][position + 1]
                assert {left, right} <= markers | {special.mask}


@pytest.mark.parametrize("markers", [True, False])
@pytest.mark.parametrize("name", ["text", "table"])
def test_a_sequence_of_any_length_is_the_beginning_of_the_whole_and_ends_in_one_sep(words, name, markers):
    special, dials = words.special, {"inputs__table__markers": markers, "inputs__mask_rate": 0.0}
    whole = transform(words, **{f"inputs__{name}__length": 99}, **dials).evaluation(WHOLE)[name]
    whole = whole["ids"][whole["mask"]].tolist()
    closing = {special.sep, special.name, special.value}
    for length in range(4, len(whole) + 3):
        chosen = transform(words, **{f"inputs__{name}__length": length}, **dials)
        arrays = chosen.evaluation(WHOLE)[name]
        *cut, last = arrays["ids"][arrays["mask"]].tolist()
        assert last == special.sep
        assert cut[-1] not in closing
        assert cut == whole[: len(cut)]
        assert len(cut) + 1 == len(whole) if length >= len(whole) else length - 2 <= len(cut) + 1 <= length
        assert (arrays["ids"][~arrays["mask"]] == special.pad).all()
        orders = [chosen.training(WHOLE, rng(seed))[name] for seed in range(3)]
        assert all(order["ids"][order["mask"]][-1] == special.sep for order in orders)


def slow_entities(words, fields, length, markers):
    """Positions of names and values of the fields that fit, counted one piece after the other."""
    position, found = 1, []
    for field in fields:
        spans = []
        for part in field:
            position += markers
            spans.append(tuple(range(position, position + len(words.encode(part)))))
            position += len(spans[-1])
        if position <= length - 1:
            found += spans
    return found


@pytest.mark.parametrize("markers", [True, False])
def test_an_entity_is_the_pieces_of_one_name_or_value_with_markers_and_without(words, markers):
    for length in range(4, 40):
        dials = {"inputs__table__length": length, "inputs__table__shuffle": False, "inputs__table__markers": markers}
        chosen, seen = transform(words, inputs__mask_rate=0.2, **dials), set()
        clear = chosen.evaluation(WHOLE)["table"]["ids"]
        allowed = slow_entities(words, WHOLE.fields, length, markers)
        for seed in range(30):
            table = chosen.training(WHOLE, rng(seed))["table"]
            positions = table["masked"]["positions"][table["masked"]["valid"]]
            seen.add(tuple(positions))
            np.testing.assert_array_equal(np.flatnonzero(table["ids"] != clear), positions)
            np.testing.assert_array_equal(table["masked"]["targets"][table["masked"]["valid"]], clear[positions])
        assert seen - {()} <= set(allowed)
        assert seen != {()} or not any(len(part) <= chosen.specs["table"].masked for part in allowed)


def test_without_markers_a_table_is_serialised_as_released(words):
    arrays = transform(words, inputs__table__length=60, inputs__table__markers=False).evaluation(WHOLE)["table"]
    expected = [words.special.cls, *(i for field in WHOLE.fields for part in field for i in words.encode(part))]
    assert arrays["ids"][arrays["mask"]].tolist() == [*expected, words.special.sep]


def test_training_and_evaluation_serialise_alike(words):
    chosen = transform(words, inputs__mask_rate=0.0, inputs__table__shuffle=False)
    shown, trained_on = chosen.evaluation(WHOLE), chosen.training(WHOLE, rng())
    for name in ("text", "table"):
        np.testing.assert_array_equal(shown[name]["ids"], trained_on[name]["ids"])
        np.testing.assert_array_equal(shown[name]["mask"], trained_on[name]["mask"])


def test_blocks_are_selected_where_they_are_and_only_of_pictures_some_stay_in_sight(words):
    chosen, shown = transform(words, inputs__mask_rate=0.5), dict.fromkeys(("image", "video", "audio"), 0)
    for seed in range(100):
        arrays = chosen.training(WHOLE, rng(seed))
        for name in shown:
            masked = arrays[name]["masked"]
            assert masked["hidden"].dtype == bool
            assert not (masked["hidden"] & ~masked["valid"]).any()
            assert arrays[name]["mask"][masked["positions"][masked["valid"]]].all()
            assert masked["valid"].any()
            shown[name] += (masked["valid"] & ~masked["hidden"]).sum()
    assert (shown["video"], shown["audio"]) == (0, 0)
    assert 5 <= shown["image"] <= 40  # two blocks of four each time: 20 of 200 expected
    nothing = chosen.training(DAMAGED, rng())
    assert not any(nothing[name]["masked"][key].any() for name in shown for key in ("valid", "hidden"))


def test_a_short_clip_and_a_short_sound_are_masked_by_what_is_there(words):
    arrays = transform(words).evaluation(WHOLE)
    assert arrays["video"]["mask"].sum() == 2 * 4  # three frames: two tubelets of two frames, of 2 x 2 patches
    np.testing.assert_array_equal(arrays["video"]["values"][3], 0)
    assert arrays["audio"]["mask"].tolist() == [True, True]  # eleven frames: a block of eight and a part of one
    np.testing.assert_array_equal(arrays["audio"]["values"][:11, :, 0], WHOLE.audio)
    assert not arrays["audio"]["values"][11:].any()


def test_only_training_crops_and_mirrors(words):
    plain = transform(words, inputs__image__crop=1.0, inputs__image__flip=False)
    seen = {plain.training(WHOLE, rng(seed))["image"]["values"].tobytes() for seed in range(5)}
    assert seen == {plain.evaluation(WHOLE)["image"]["values"].tobytes()}
    mirrored = transform(words, inputs__image__crop=1.0, inputs__image__flip=True)
    expected = plain.evaluation(WHOLE)["image"]["values"]
    for seed in range(10):
        found = mirrored.training(WHOLE, rng(seed))["image"]["values"].astype(int)
        assert min(np.abs(found - expected).max(), np.abs(found - expected[:, ::-1]).max()) <= 1
    cropped = transform(words)
    assert len({cropped.training(WHOLE, rng(seed))["image"]["values"].tobytes() for seed in range(10)}) == 10


def test_jitter_moves_light_and_colour_of_training_pictures_alone(words):
    still = {"inputs__image__crop": 1.0, "inputs__image__flip": False}
    plain, chosen = transform(words, **still), transform(words, inputs__image__jitter=0.4, **still)
    assert len({chosen.training(WHOLE, rng(seed))["image"]["values"].tobytes() for seed in range(10)}) == 10
    shown = [made.evaluation(WHOLE)["image"]["values"] for made in (plain, chosen)]
    np.testing.assert_array_equal(*shown)
    # One factor each, by hand: grey pixels stay grey, and only brightness moves a flat picture.
    flat = np.full((4, 4, 3), 100, np.uint8)
    jittered = _jittered(flat, 0.4, rng(3))
    assert len(np.unique(jittered)) == 1
    assert jittered[0, 0, 0] == round(100 * np.float32(rng(3).uniform(0.6, 1.4)))
    assert _jittered(flat, 0.0, rng(3)) is flat


def test_the_same_generator_gives_the_same_arrays(words):
    chosen = transform(words, inputs__drop_modality=0.3)
    first, second = (dict(flat(chosen.training(WHOLE, rng(3)))) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("rate", [0.3, 0.9])
def test_hiding_modalities_hides_its_share_and_leaves_one(words, rate):
    chosen = transform(words, inputs__drop_modality=rate)
    shown = np.asarray([[arrays[name]["mask"].any() for name in NAMES] for arrays in (
        chosen.training(WHOLE, rng(seed)) for seed in range(200)
    )])  # fmt: skip
    assert shown.any(1).all()
    one, five = (shown.sum(1) == count for count in (1, 5))
    assert abs(shown.mean() - (1 - rate + rate**5 / 5)) < 0.06  # one of five stays where all would go
    assert abs(one.mean() - (rate**5 + 5 * rate**4 * (1 - rate))) < 0.1
    assert abs(five.mean() - (1 - rate) ** 5) < 0.1
    assert (shown[one].sum(0) > 0).all() or rate < 0.5  # whichever it is
