"""The random number generator Philox: known answers of the library Random123, keys, and statistical tests."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
import threading
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import _core
from fusedstep.ops import _philox_reference as reference

# From the file tests/kat_vectors of Random123 1.14.0: counter, key and output, as hexadecimal numbers of 32 bits.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
N = 1 << 20  # the number of elements of the masks and noise in the statistical tests


def numbers(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN)
def test_philox_blocks_equal_the_known_answers_of_random123(counter: str, key: str, output: str) -> None:
    """A block is the four numbers of 32 bits that Philox computes from a counter and a key."""
    c, k, out = numbers(counter), numbers(key), numbers(output)
    assert reference.philox4x32(np.array(c), np.array(k)).tolist() == out
    for isa in _core.available_isas():
        _core.set_isa(isa)
        block = _core.philox_block(k[0] | k[1] << 32, c[2] | c[3] << 32, c[0] | c[1] << 32)
        assert list(block) == out


@pytest.mark.parametrize("index", [0, 1, 63, 64, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
def test_philox_blocks_equal_those_of_the_numpy_reference(index: int) -> None:
    """A block is the four numbers of 32 bits that Philox computes from the seed, the stream and the index."""
    seed, stream = 0x0123456789ABCDEF, 0xFEDCBA9876543210
    counter = np.array([index & 0xFFFFFFFF, index >> 32, stream & 0xFFFFFFFF, stream >> 32], np.uint64)
    expected = reference.philox4x32(counter, np.array([seed & 0xFFFFFFFF, seed >> 32], np.uint64))
    for isa in _core.available_isas():
        _core.set_isa(isa)
        assert list(_core.philox_block(seed, stream, index)) == expected.tolist()


# Keys


def test_philox_returns_distinct_keys_and_continues_after_its_state_is_loaded() -> None:
    """A generator that loads a saved state returns the same next key as the generator whose state was saved.

    A copy of a generator returns the same next key as the original. Keys can be pickled.
    """
    rng = fs.Philox(2**64 - 1)
    first = [rng.key() for _ in range(3)]
    assert len(set(first)) == 3 and first[0] == fs.Key(2**64 - 1, 0)
    state = rng.state_dict()
    following = rng.key()
    for other in (fs.Philox(0), copy.deepcopy(fs.Philox(5)), pickle.loads(pickle.dumps(fs.Philox(6)))):
        other.load_state_dict(state)
        assert other.key() == following
    assert copy.copy(rng).key() == rng.key()
    assert pickle.loads(pickle.dumps(first[1])) == first[1]


def test_threads_draw_distinct_keys() -> None:
    """Eight threads draw 500 keys each. Each stream number from 0 to 3,999 occurs once."""
    rng, keys = fs.Philox(1), []
    workers = [threading.Thread(target=lambda: keys.extend([rng.key() for _ in range(500)])) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(key.stream for key in keys) == list(range(4000))


def test_philox_raises_overflow_error_after_the_last_stream() -> None:
    """A second generator loads the state of the first. Then `key` of the second generator raises the same error."""
    rng = fs.Philox(1)
    rng.load_state_dict({"seed": 1, "stream": 2**64 - 1})
    assert rng.key().stream == 2**64 - 1
    with pytest.raises(OverflowError, match="all 2\\*\\*64 streams"):
        rng.key()
    again = fs.Philox(1)
    again.load_state_dict(rng.state_dict())
    with pytest.raises(OverflowError):
        again.key()


def test_keys_that_fold_derives_from_other_keys_are_distinct() -> None:
    keys = [k.fold(i) for k in (fs.Key(1), fs.Key(1, 1), fs.Key(2)) for i in (0, 1, 2, 2**63 - 1)]
    keys += [fs.Key(1).fold(0).fold(1), fs.Key(1).fold(1).fold(0)]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: fs.Philox(-1), ValueError, "Philox: seed must be at least 0 and below 2**64; got -1"),
        (lambda: fs.Philox(2**64), ValueError, "Philox: seed must be at least 0 and below 2**64"),
        (lambda: fs.Philox(1.0), TypeError, "Philox: seed must be a whole number; got 1.0"),  # type: ignore[arg-type]
        (lambda: fs.Philox(True), TypeError, "Philox: seed must be a whole number; got True"),
        (lambda: fs.Key(0, -1), ValueError, "Key: stream must be at least 0"),
        (lambda: fs.Key("7"), TypeError, "Key: seed must be a whole number; got '7'"),  # type: ignore[arg-type]
        (lambda: fs.Key(7).fold(-1), ValueError, "Key.fold: index must be at least 0"),
        (lambda: fs.Key(7).fold(2**63), ValueError, "Key.fold: index must be at least 0 and below 2**63"),
        (lambda: fs.Philox(7).load_state_dict({}), ValueError, 'must be a dict of "seed" and "stream" only; got {}'),
        (lambda: fs.Philox(7).load_state_dict({"seed": 1, "stream": -1}), ValueError, "stream must be at least 0"),
    ],
)
def test_philox_and_key_refuse_wrong_arguments(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        make()
    assert words in str(caught.value)


def test_key_is_frozen_and_holds_python_integers() -> None:
    key = fs.Key(np.uint64(7), np.int32(1))  # type: ignore[arg-type]
    assert key == fs.Key(7, 1) and type(key.seed) is int
    with pytest.raises(AttributeError):
        key.seed = 8  # type: ignore[misc]


# Statistics. Each test computes numbers z. If the numbers of a stream are random, z has approximately a standard normal
# distribution, and |z| < 5 with probability 1 - 6e-7. The seeds are fixed, so a test passes in every run or fails in
# every run.
BOUND = 5.0
STREAMS = [fs.Key(0), fs.Key(1), fs.Key(0, 1), fs.Key(2**32), fs.Key(2**64 - 1, 2**64 - 1), fs.Key(7).fold(3)]


def z_of(mask: Any, p: float) -> float:
    """Return (mean of the mask - p) / (standard deviation of the mean).

    The elements of the mask must be independent: 1 with probability p, and otherwise 0.
    """
    return (mask.mean() - p) * math.sqrt(mask.size / (p * (1 - p)))


def kept_probability(p: float) -> float:
    """Return the probability that dropout keeps an element. Dropout rounds p to a multiple of 1/65536."""
    return 1 - round(65536 * p) / 65536


@pytest.mark.parametrize("p", [1 / 65536, 0.001, 0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("key", STREAMS, ids=str)
def test_fraction_of_kept_elements_is_1_minus_p(key: fs.Key, p: float) -> None:
    kept, q = fs.dropout_mask(N, p, key), kept_probability(p)
    assert abs(z_of(kept, q)) < BOUND
    for position in range(8):  # among the 8 elements that come from one block of random numbers
        assert abs(z_of(kept[position::8], q)) < BOUND


@pytest.mark.parametrize("key", STREAMS, ids=str)
def test_random_words_have_uniform_bits_and_bytes(key: fs.Key) -> None:
    words = reference.words(key.seed, key.stream, 0, N // 4)
    for bit in range(32):
        assert abs(z_of(words >> np.uint32(bit) & np.uint32(1), 0.5)) < BOUND
    count = np.bincount(words.view(np.uint8), minlength=256)
    chi2 = ((count - N / 256) ** 2).sum() / (N / 256)
    assert abs(chi2 - 255) / math.sqrt(2 * 255) < BOUND


@pytest.mark.parametrize("key", STREAMS, ids=str)
def test_mask_elements_at_many_distances_are_uncorrelated(key: fs.Key) -> None:
    kept = fs.dropout_mask(N, 0.5, key)
    for distance in [*range(1, 33), 64, 128, 512, 4096, 65536]:
        assert abs(z_of(kept[distance:] == kept[:-distance], 0.5)) < BOUND


@pytest.mark.parametrize("key", STREAMS, ids=str)
def test_lengths_of_runs_of_equal_mask_elements_have_the_expected_frequencies(key: fs.Key) -> None:
    """A run is a sequence of equal elements between two changes. It has n elements with probability 2^-n."""
    kept = fs.dropout_mask(N, 0.5, key)
    changes = np.flatnonzero(kept[1:] != kept[:-1])
    lengths = np.diff(changes)
    assert abs(z_of(kept[1:] != kept[:-1], 0.5)) < BOUND
    for length in range(1, 13):
        assert abs(z_of(lengths == length, 0.5**length)) < BOUND
    assert lengths.max() < 40


def test_masks_of_different_streams_and_seeds_are_uncorrelated() -> None:
    keys = [*STREAMS, *(fs.Key(seed, stream) for seed in range(4) for stream in range(2, 5)), fs.Key(3).fold(0)]
    masks = [fs.dropout_mask(1 << 16, 0.5, key) for key in keys]
    for a, b in itertools.combinations(masks, 2):
        assert abs(z_of(a == b, 0.5)) < BOUND
        assert abs(z_of(a[8:] == b[:-8], 0.5)) < BOUND  # shifted by one block, which gives 8 elements


def test_first_words_of_neighbouring_seeds_and_streams_are_random() -> None:
    """The test takes the first four words of 20,000 consecutive seeds, and then of 20,000 consecutive streams.

    The highest bit of the first word is 0 or 1 with equal probability. In neighbouring seeds or streams, these bits are
    independent. The same is true of the second, third and fourth words.
    """
    for seed, stream in ((1, 0), (0, 1)):
        words = np.array([_core.philox_block(i * seed, i * stream, 0) for i in range(20000)], np.uint32)
        for column in range(4):
            high = words[:, column] >> np.uint32(31)
            assert abs(z_of(high, 0.5)) < BOUND
            assert abs(z_of(high[1:] == high[:-1], 0.5)) < BOUND


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("key", STREAMS[:3], ids=str)
def test_gaussian_noise_has_the_moments_and_frequencies_of_the_normal_distribution(key: fs.Key, dtype: Any) -> None:
    """Elements at small distances are uncorrelated, and their squares are uncorrelated."""
    z = fs.gaussian_noise(N, 1.0, key, dtype=dtype).astype(np.float64)
    moments = {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96)}  # mean and variance of z^k
    for k, (mean, variance) in moments.items():
        assert abs((z**k).mean() - mean) * math.sqrt(N / variance) < BOUND
    edges = np.linspace(-4, 4, 33)
    cumulative = np.array([0.0, *(0.5 * math.erfc(-e / math.sqrt(2)) for e in edges), 1.0])
    expected = np.diff(cumulative) * N
    count = np.bincount(np.searchsorted(edges, z), minlength=34)
    chi2 = ((count - expected) ** 2 / expected).sum()
    assert abs(chi2 - 33) / math.sqrt(2 * 33) < BOUND
    for distance in (1, 2, 3, 4, 8):
        assert abs((z[distance:] * z[:-distance]).mean()) * math.sqrt(N) < BOUND
        product = (z[distance:] ** 2 - 1) * (z[:-distance] ** 2 - 1)  # the squares, minus their mean of 1
        assert abs(product.mean()) * math.sqrt(N / 4) < BOUND
