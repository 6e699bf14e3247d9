"""The methods of `m5jax/methods.py` in the size of the tests, and batches in which listings lack picture or title."""

import jax
import numpy as np
from conftest import random_batch
from small import small_config

from m5jax import config as config_lib
from m5jax import methods, optim, settings

VOCABULARY = 50
REGIONS = {"source": "features", "feature_rows": 5, "feature_dim": 16, "boxes": True, "classes": 3}
# Both, a picture alone, a title alone, nothing, and both again, of which the last picture is another listing's.
PRESENT = np.array([[1, 1], [1, 0], [0, 1], [0, 0], [1, 1], [1, 1]], bool)


def small_method(name, image=REGIONS, **changes):
    """A method that sees regions with boxes and classes, or what `image` says; changes as in `small_config`."""
    chosen = config_lib.default()
    chosen.update(settings.to_dict(small_config(**{f"inputs__image__{key}": value for key, value in image.items()})))
    methods.apply(chosen, name)
    for path, value in changes.items():
        *sections, field = path.split("__")
        target = chosen
        for section in sections:
            target = target[section]
        target[field] = value
    return config_lib.freeze(chosen.to_dict())


def method_batch(config, seed=0, present=PRESENT):
    """A training batch of a listing for every row of `present`, whose columns are image and text."""
    columns = [column for column, name in enumerate(("image", "text")) if name in config.inputs.modalities]
    batch = random_batch(config, VOCABULARY, len(present), seed, present[:, columns])
    if config.inputs.image.classes and "image" in batch:
        image, rng = batch["image"], np.random.default_rng(seed)
        image["mask"] = image["mask"] & (np.arange(5) < rng.integers(3, 6, (len(present), 1)))
        image["masked"]["valid"] = np.take_along_axis(image["mask"], image["masked"]["positions"], 1)
        image["masked"]["hidden"] = image["masked"]["valid"]
        image["classes"] = rng.dirichlet(np.ones(3), image["mask"].shape).astype(np.float16)
    if config.inputs.mismatch:
        batch["mismatched"] = np.arange(len(present)) == 5
    return batch


def drawn_params(model, seed=0):
    """Parameters of a model's shapes: scales near 1, all else near 0; compiling `Model.init` would take longer."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree_util.tree_map_with_path(
        lambda keys, leaf: (rng.normal(optim.path_of(keys).endswith("/scale"), 0.1, leaf.shape)).astype(leaf.dtype),
        shapes,
    )


def with_other_content(batch):
    """The same batch, with other content of all that no mask shows."""
    changed = dict(batch)
    for name in {"image", "text"} & batch.keys():
        arrays = dict(batch[name])
        for key, other in (("ids", 13), ("values", np.nan), ("boxes", np.nan), ("classes", np.nan)):
            if key in arrays:
                shown = arrays["mask"].reshape(*arrays["mask"].shape, *(1,) * (arrays[key].ndim - 2))
                arrays[key] = np.where(shown, arrays[key], np.asarray(other, arrays[key].dtype))
        changed[name] = arrays
    return changed
