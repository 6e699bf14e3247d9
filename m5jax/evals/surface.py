"""Surface forms: short texts as bags of hashed character n-grams, so that one never seen before has a vector, too."""

import functools
import hashlib
from collections.abc import Sequence

import numpy as np
import scipy.sparse

SIZES = (1, 2, 3)
BUCKETS = 1024
LONGEST = 64  # characters read of a text


def bags(texts: Sequence[str], buckets: int = BUCKETS) -> scipy.sparse.csr_array:
    """The texts as float32 [N, buckets]: how often each n-gram of 1 to 3 characters occurs, and the text as a whole.

    After fastText (Bojanowski et al., Enriching Word Vectors with Subword Information, 2017, section 3.2): < and > mark
    both ends, n-grams fall into buckets by their hash, and the whole text is one more. Case and spaces at the ends do
    not count. A row has unit length; an empty text is a row of zeros.
    """
    rows: list[int] = []
    columns: list[int] = []
    bucket = functools.cache(functools.partial(_bucket, buckets=buckets))  # few n-grams are most of them
    for row, text in enumerate(texts):
        if not (plain := text.strip().casefold()[:LONGEST]):
            continue
        marked = f"<{plain}>"
        grams = [marked[at : at + size] for size in SIZES for at in range(len(marked) - size + 1)]
        grams.append(f"={plain}")
        rows += [row] * len(grams)
        columns += [bucket(gram) for gram in grams]
    counts = scipy.sparse.csr_array(
        (np.ones(len(rows), np.float32), (np.asarray(rows, int), np.asarray(columns, int))), shape=(len(texts), buckets)
    )
    lengths = np.sqrt(np.bincount(counts.nonzero()[0], counts.data**2, len(texts)))
    counts.data /= np.repeat(lengths, np.diff(counts.indptr))
    return counts


def _bucket(gram: str, buckets: int) -> int:
    return int.from_bytes(hashlib.blake2b(gram.encode(errors="surrogatepass"), digest_size=8).digest(), "big") % buckets
