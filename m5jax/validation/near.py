"""Which of millions of 256-bit hashes differ in a few bits: exactly, by pigeonhole, without comparing all with all."""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int, UInt64

MOST = 4  # bits that near-identical pictures differ in at most
AGREE = 2  # bands that a pair must agree on to be compared
BITS = 256
LONGEST = 10_000  # neighbours of one key that a hash is compared with at most
CHUNK = 1 << 20  # pairs compared at a time

Pairs = tuple[Int[np.ndarray, "p"], Int[np.ndarray, "p"]]


@dataclasses.dataclass
class Search:
    """The search for near pairs.

    The bits are dealt out to MOST + AGREE bands. Two hashes that differ in at most MOST bits agree on at least AGREE
    bands, so it is enough to compare those that agree on some AGREE of them: one sort for each choice. Neighbouring
    bits go to different bands; else a white margin would make a band the same in all pictures.

    Attributes:
      hashes: no two rows alike.
      skipped: pairs that were not compared, because more than `longest` hashes agree: above 0, pairs may be missing.
      compared: pairs that were.
    """

    hashes: UInt64[np.ndarray, "n 4"]
    longest: int = LONGEST
    skipped: int = 0
    compared: int = 0

    def pairs(self) -> Iterator[Pairs]:
        """Every pair (i, j) that differs in at most MOST bits, once, in pieces of bounded size."""
        bands = _bands(self.hashes.shape[1] * 64)
        for chosen in itertools.combinations(range(len(bands)), AGREE):
            key = _key(self.hashes, np.bitwise_or.reduce(bands[list(chosen)]))
            order = np.argsort(key, kind="stable")
            for left, right in self._candidates(key[order]):
                i, j = order[left], order[right]
                self.compared += len(i)
                differing = self.hashes[i] ^ self.hashes[j]
                near = np.bitwise_count(differing).sum(1) <= MOST
                i, j, differing = i[near], j[near], differing[near]
                # A pair that agrees on more bands is met again: it counts where its first ones are chosen.
                agrees = ~(differing[:, None, :] & bands[None]).any(-1)
                first = np.argsort(~agrees, axis=1, kind="stable")[:, :AGREE]
                new = (first == np.asarray(chosen)).all(1)
                if new.any():
                    yield i[new], j[new]

    def _candidates(self, key: np.ndarray) -> Iterator[Pairs]:
        """Pairs of places of equal keys, which are sorted: neighbours at distance 1, then 2, ..."""
        live = np.arange(len(key) - 1)
        for distance in range(1, len(key)):
            live = live[live + distance < len(key)]
            live = live[key[live] == key[live + distance]]
            if not len(live):
                return
            if distance > self.longest:
                self.skipped += len(live)
                return
            for start in range(0, len(live), CHUNK):
                places = live[start : start + CHUNK]
                yield places, places + distance


def _bands(bits: int) -> np.ndarray:
    """Masks that share out the bits: uint64 [MOST + AGREE, words]."""
    band = np.arange(bits) % (MOST + AGREE)
    return np.stack([np.packbits(band == b).view(">u8").astype(np.uint64) for b in range(MOST + AGREE)])


def _key(hashes: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """64 bits that hashes which are the same below the mask have in common; others seldom do, which costs a look."""
    key = np.zeros(len(hashes), np.uint64)
    for word in range(hashes.shape[1]):
        key = (key ^ (hashes[:, word] & mask[word])) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    return key
