"""A configuration for whole runs in tests; catalogue, root and workdir come from the command line."""

from small import small_config

from m5jax import config, settings


def get_config():
    c = config.default()
    c.update(
        settings.to_dict(
            small_config(
                inputs__modalities=("image", "text", "table"),
                steps=6,
                logging__every=1,
                logging__tensorboard=False,
                checkpoint__every=3,
                evaluate__probe=False,
                evaluate__cluster=False,
                evaluate__studies=(),
            )
        )
    )
    return c
