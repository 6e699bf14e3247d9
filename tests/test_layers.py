"""How kernels begin."""

import jax
import numpy as np
import pytest
from flax import nnx

from m5jax.models.layers import BERT, CLIP, linear


@pytest.mark.parametrize(("inputs", "deviation"), [(768, 0.02), (1024, 0.02), (5, 0.02), (64, 0.02 * 12**0.5)])
def test_a_narrow_network_begins_with_outputs_as_large_as_those_of_bert(inputs, deviation):
    for layout in (BERT, CLIP):
        kernel = linear(inputs, 768, layout, np.float32, nnx.Rngs(0)).kernel[...]
        assert kernel.std() == pytest.approx(deviation, rel=0.05)
        assert kernel.mean() == pytest.approx(0, abs=deviation / 10)


def test_a_vector_begins_as_released():
    assert np.std(BERT.init(jax.random.key(0), (300,))) == pytest.approx(0.02, rel=0.2)
