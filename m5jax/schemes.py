"""K3M's schemes of corruption, by name: which modalities of a listing go missing, or are another listing's, together.

Zhu et al., Knowledge Perceived Multi-modal Pretraining in E-commerce (K3M), ACM MM 2021, arXiv:2109.00895, figures 3
and 4 and table 2, names the first seven; KMR is ours. How they are drawn is in `data.schemes`. No jax in here.
"""

import dataclasses
from collections.abc import Sequence

from m5jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Scheme:
    """One way to corrupt listings.

    Attributes:
      title: in words.
      kind: "missing" or "noise".
      choices: what befalls a corrupted listing: modalities that go together; one of these, each as likely.
    """

    title: str
    kind: str
    choices: tuple[tuple[str, ...], ...]

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it may befall, each once."""
        return tuple(dict.fromkeys(name for choice in self.choices for name in choice))


SCHEMES = {
    "TMR": Scheme("titles missing", "missing", (("text",),)),
    "IMR": Scheme("pictures missing", "missing", (("image",),)),
    "MMR": Scheme("title or picture missing", "missing", (("text",), ("image",))),
    "TNR": Scheme("wrong titles", "noise", (("text",),)),
    "INR": Scheme("wrong pictures", "noise", (("image",),)),
    "TINR": Scheme("wrong titles with wrong pictures", "noise", (("text", "image"),)),
    "MNR": Scheme("wrong title, picture or both", "noise", (("text",), ("image",), ("text", "image"))),
    "KMR": Scheme("tables missing", "missing", (("table",),)),
}


def possible(kept: Sequence[str]) -> tuple[str, ...]:
    """The schemes all of whose modalities records hold."""
    return tuple(name for name, scheme in SCHEMES.items() if set(scheme.modalities) <= set(kept))


def check(name: str, ratio: float, kept: Sequence[str], beside: Sequence[str], splits: Sequence[str]) -> None:
    """Checks what `config.data.corruption` says of a scheme.

    Args:
      name: of the scheme; "" = none.
      ratio: of it.
      kept: the modalities that records hold.
      beside: the settings that corrupt without a scheme.
      splits: on which it acts.

    Raises:
      ConfigError: a ratio without a scheme, a scheme of modalities that records do not hold, beside other corruption,
        or on no split.
    """
    where = f"config.data.corruption.scheme = {name!r}"
    if ratio and not name:
        raise ConfigError(
            f"config.data.corruption.ratio = {ratio:g} is that of a scheme: name one in config.data.corruption.scheme,"
            f" of {', '.join(SCHEMES)}"
        )
    absent = [of for of in (SCHEMES[name].modalities if name else ()) if of not in kept]
    if absent:
        raise ConfigError(
            f"{where} is about {' and '.join(absent)}, neither in config.inputs.modalities nor in config.inputs.record"
        )
    if name and beside:
        raise ConfigError(f"{where}, beside config.data.corruption.{beside[0]}: a scheme says all that is corrupted")
    if ratio and not splits:
        raise ConfigError(f"{where}, but config.data.corruption.splits is empty: name a split")
