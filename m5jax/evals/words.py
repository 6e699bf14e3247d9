"""What words alone say: the yardstick that a trained text encoder has to beat."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int
from sklearn.feature_extraction.text import TfidfVectorizer

TOKEN = r"(?u)\b\w+\b"  # noqa: S105 - single characters and digits too: they are what tells model numbers apart


def cosines(texts: Sequence[str], left: Int[np.ndarray, "n"], right: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """TF-IDF cosines of pairs of texts (Salton and Buckley, Term-weighting approaches, 1988).

    Counts are sublinear, 1 + log(count), and inverse document frequencies those of all texts given; nothing else is
    learnt. Case does not count.

    Args:
      texts: one a listing.
      left, right: of every pair the positions of its texts; -1 = there is none.

    Returns:
      From 0 to 1; -inf where a side has no text or no word.
    """
    scores = np.full(len(left), -np.inf)
    try:
        vectoriser = TfidfVectorizer(sublinear_tf=True, token_pattern=TOKEN)
        weights = scipy.sparse.csr_array(vectoriser.fit_transform(texts))  # rows have unit length
    except ValueError:  # no text has a word
        return scores
    has = np.append(np.diff(weights.indptr) > 0, False)  # position -1 meets the False appended
    told = has[left] & has[right]
    scores[told] = (weights[left[told]] * weights[right[told]]).sum(axis=1)
    return scores
