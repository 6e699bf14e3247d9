"""Reading in place and batching row by row: the same as parsing everything and stacking."""

import platform

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import small_config
from test_tokenizer import wordpiece
from test_transforms import WHOLE, flat

from m5jax.data import examples, memory
from m5jax.data.records import DAMAGED, MEDIA, Example, Features, Record, RecordCodec
from m5jax.data.transforms import Transform
from m5jax.modalities import State

INPUTS = small_config().inputs
NOTHING = Record("nothing", states=(State.EMPTY,) * 5)


def test_a_batch_is_its_listings_stacked(tmp_path):
    transform = Transform(INPUTS, wordpiece(tmp_path))
    records = [WHOLE, NOTHING, DAMAGED, WHOLE]
    for training in (False, True):
        generators = lambda: (np.random.default_rng(i) if training else None for i in range(4))  # noqa: E731, B023
        drafts = (transform.draft(record, rng) for record, rng in zip(records, generators(), strict=True))
        batch = dict(flat(transform.batch(drafts, len(records))))
        single = [
            dict(flat(transform.evaluation(record) if rng is None else transform.training(record, rng)))
            for record, rng in zip(records, generators(), strict=True)
        ]
        assert batch.keys() == single[0].keys()
        for name, array in batch.items():
            stacked = np.stack([arrays[name] for arrays in single])
            np.testing.assert_array_equal(array, stacked)
            assert array.dtype == stacked.dtype
        for name in ("image", "video", "audio"):
            assert batch[f"{name}/values"].shape[1:] == transform.specs[name].grid


@given(
    media=st.fixed_dictionaries({name: st.sampled_from([0, 5, 1024, 1025, 70_000]) for name in MEDIA}),
    title=st.sampled_from(["", "shoe", "鞋" * 700]),
    fields=st.lists(st.tuples(st.sampled_from(["n", "x" * 1100]), st.just("v")), max_size=3),
)
def test_a_record_read_in_place_is_the_record_parsed(media, title, fields):
    rng = np.random.default_rng(0)
    payloads = {name: rng.bytes(size) for name, size in media.items() if name != "audio"}
    payloads["audio"] = rng.integers(0, 100, (media["audio"] // 32, 16)).astype(np.float16)
    codec = RecordCodec(INPUTS)
    record = Record("x", title=title, fields=tuple(fields), states=(State.PRESENT,) * 5, **payloads)
    data = codec.encode(record)
    large, rest = examples.apart(data, MEDIA)
    whole = {
        name: list(feature.bytes_list.value) for name, feature in Example.FromString(data).features.feature.items()
    }
    left = {name: list(feature.bytes_list.value) for name, feature in Features.FromString(rest).feature.items()}
    assert {name: [bytes(payload)] for name, payload in large.items()} | left == whole
    assert set(large) == {name for name in MEDIA if len(whole[name][0]) >= 1024}
    got = codec.decode(data)
    for name in ("id", "title", "fields", "states", "image", "video"):
        assert getattr(got, name) == getattr(record, name)
    np.testing.assert_array_equal(got.audio, record.audio)


def test_what_is_no_example_is_a_value_error():
    data = RecordCodec(INPUTS).encode(Record("x", title="t" * 50, image=b"i" * 3000))
    for cut in range(len(data)):
        with pytest.raises(ValueError, match=r"no tf\.Example"):
            examples.apart(data[:cut], MEDIA)
    for wrong in (b"\x00" + data[1:], data + b"\x0a"):
        with pytest.raises(ValueError, match=r"no tf\.Example"):
            examples.apart(wrong, MEDIA)


def test_where_the_c_library_can_freed_memory_is_kept():
    assert memory.keep_freed() == (platform.libc_ver()[0] == "glibc")
