"""Which methods are compared, and how often each is trained: the section `config.leaderboard`.

Nothing here imports jax.
"""

import dataclasses

from m5jax.methods import METHODS
from m5jax.settings import setting


@dataclasses.dataclass(frozen=True)
class Leaderboard:
    """Every method at one budget, in one table (mode=leaderboard)."""

    methods: tuple[str, ...] = setting(
        (), "which, in the order of the table (m5jax/methods.py); empty = all of them", choices=tuple(METHODS)
    )
    seeds: int = setting(1, "runs of every method, of seeds config.seed, config.seed + 1, ...", low=1)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names of the methods that are compared, each once."""
        return tuple(dict.fromkeys(self.methods)) or tuple(METHODS)
