"""Checks of chapter 06's exercises: a mask, the bytes of sparse weights, channels removed between two layers."""

from __future__ import annotations

import numpy as np

from utils.study.exercises import exercise, require


@exercise(
    "06-1",
    "the mask of magnitude pruning, exact to one weight",
    (
        "Which order decides: that of the values or that of their absolute values? And how many go?",
        "Sort positions with np.argsort(np.abs(weights), axis=None, kind='stable'); the first round(sparsity · n) go.",
        "`mask = np.ones(weights.size); order = np.argsort(np.abs(weights), axis=None, kind='stable'); "
        "mask[order[: round(sparsity * weights.size)]] = 0; return mask.reshape(weights.shape)`",
    ),
)
def mask(answer, rng: np.random.Generator) -> None:
    """`answer(weights, sparsity)`: zeros and ones like `weights`, with exactly round(sparsity · n) zeros."""
    for round_ in range(10):
        shape = tuple(int(size) for size in rng.integers(3, 7, size=int(rng.integers(1, 4))))
        weights = rng.normal(size=shape)
        if round_ % 2:
            weights = np.round(weights)  # equal magnitudes, and zeros
        sparsity = float(rng.choice([0.0, 0.25, 0.5, 0.8, 0.9]))
        made = np.asarray(answer(weights.copy(), sparsity))
        require(made.shape == shape, f"the mask has the shape of the weights, {shape}; yours has {made.shape}")
        require(
            np.isin(made, (0, 1)).all(),
            "a mask holds only zeros and ones; you returned other numbers. Are they the pruned weights?",
        )
        made, wanted = made.astype(bool), round(sparsity * weights.size)
        zeros = int(np.sum(~made))
        size = np.abs(weights)
        require(
            not (zeros in (weights.size - wanted, round((1 - sparsity) * weights.size)) and zeros != wanted),
            f"you kept {wanted} weights and removed the others: sparsity is the fraction of zeros, not of what stays",
        )
        by_value = np.sort(weights.ravel())
        require(
            not (zeros == wanted and 0 < zeros < weights.size and np.array_equal(~made, weights <= by_value[zeros - 1])
                 and size[~made].max() > size[made].min()
                 and size[~made].min() < size[made].max()),  # else it may be the magnitudes, largest first
            "you sorted the values: then all negative weights go first. Sort their absolute values",
        )  # fmt: skip
        require(
            zeros == wanted,
            f"{wanted} of {weights.size} weights go at a sparsity of {sparsity}; your mask has {zeros} zeros. A"
            " threshold alone removes too many or too few where magnitudes are equal: count positions",
        )
        require(
            not zeros or zeros == weights.size or size[~made].max() <= size[made].min(),
            "a weight that went is larger, in absolute value, than one that stayed",
        )


@exercise(
    "06-2",
    "how many bytes sparse weights take, and from when on that pays",
    (
        "How many weights are not zero? Each of them is stored with its place.",
        "Eight bits are a byte. It pays where (1 − s) · (value + index bits) is less than the value bits.",
        "`both = value_bits + index_bits; return n * (1 - sparsity) * both / 8, index_bits / both`",
    ),
)
def sparse_bytes(answer, rng: np.random.Generator) -> None:
    """`answer(n, sparsity, value_bits, index_bits)`: (bytes, the sparsity above which they are fewer than dense)."""
    for _ in range(10):
        n, sparsity = int(rng.integers(1, 100)) * 1000, float(rng.integers(1, 100)) / 100
        value, index = int(rng.choice([4, 8, 16, 32])), int(rng.choice([8, 16]))
        made = answer(n, sparsity, value, index)
        require(isinstance(made, (tuple, list)) and len(made) == 2, "return two numbers: bytes, and a sparsity")
        got, limit = float(made[0]), float(made[1])
        stay = n * (1 - sparsity)
        known = (
            (n * sparsity * (value + index) / 8, "you stored the zeros: what is stored is the rest, 1 − sparsity"),
            (stay * value / 8, "you forgot the places: a value alone does not say where it belongs"),
            (stay * (value + index), "that is the number of bits; eight are a byte"),
            ((stay * value + n * index) / 8, "zeros need no place: only what is stored has one"),
        )
        said = [message for wrong, message in known if np.isclose(got, wrong)]
        if np.isclose(got, stay * (value + index) / 8):
            said = []
        if len(said) > 1:  # two mistakes give this number here: the next draw tells them apart
            continue
        require(not said, "".join(said))
        require(
            np.isclose(got, stay * (value + index) / 8),
            f"it is {stay * (value + index) / 8:,.0f} bytes, not {got:,.0f}",
        )
        right = index / (value + index)
        require(
            not np.isclose(limit, 1 - right) or np.isclose(right, 0.5),
            "that is the fraction that may stay; the sparsity is 1 minus that",
        )
        require(not np.isclose(limit, 0.5) or np.isclose(right, 0.5), "half is right only where both have as many bits")
        require(
            np.isclose(limit, right),
            f"(1 − s) · {value + index} bits are fewer than {value} from s = {right:.3f} on, not from {limit:.3f}",
        )


@exercise(
    "06-3",
    "removing channels between two convolutions",
    (
        "A channel is made along one axis of the first kernel and read along another axis of the second.",
        "The first kernel is (h, w, in, mid): cut its last axis; the second is (h, w, mid, out): cut axis 2. Bias and "
        "normalization have one number a channel.",
        "`kept = [array[keep] for array in normalization]; "
        "return first[..., keep], bias[keep], kept, second[:, :, keep]`",
    ),
)
def removal(answer, rng: np.random.Generator) -> None:
    """`answer(first, bias, normalization, second, keep)`: the four, without the other channels."""
    for _ in range(10):
        mid = int(rng.integers(4, 9))
        first, second = rng.normal(size=(3, 3, mid, mid)), rng.normal(size=(3, 3, mid, mid))  # axes are easily mistaken
        bias, normalization = rng.normal(size=mid), [rng.normal(size=mid) for _ in range(4)]
        keep = np.sort(rng.choice(mid, size=mid - 2, replace=False))
        made = answer(first.copy(), bias.copy(), [a.copy() for a in normalization], second.copy(), keep.copy())
        require(isinstance(made, (tuple, list)) and len(made) == 4, "return four things, in the order of the arguments")
        one, added, affine, two = (
            np.asarray(made[0]),
            np.asarray(made[1]),
            [np.asarray(a) for a in made[2]],
            np.asarray(made[3]),
        )
        for got, whole, name in ((one, first, "first"), (two, second, "second")):
            require(got.shape != whole.shape or got.size < whole.size, f"the kernel `{name}` is as large as before")
            require(
                got.size == whole.size * len(keep) // mid,
                f"the kernel `{name}` loses channels along one axis only; yours has the shape {got.shape}",
            )
        require(
            not _same(one, first[:, :, keep]),
            "you cut what the first convolution reads; the channels that it makes are its last axis",
        )
        require(
            not _same(two, second[..., keep]),
            "you cut what the second convolution makes; the channels that it reads are axis 2",
        )
        others = np.setdiff1d(np.arange(mid), keep)
        require(not _same(one, first[..., others]), "you kept the channels that should go")
        require(_same(one, first[..., keep]), "the first kernel keeps the filters `keep`, in their order")
        require(_same(two, second[:, :, keep]), "the second kernel keeps the rows of the same channels, in their order")
        require(added.shape == (len(keep),), "the bias has one number a channel: cut it too")
        require(_same(added, bias[keep]), "the bias keeps the numbers of `keep`")
        require(
            len(affine) == 4 and all(part.shape == (len(keep),) for part in affine),
            "normalization has four arrays, each with one number a channel: gamma, beta, mean, variance. Cut all",
        )
        require(all(map(_same, affine, [a[keep] for a in normalization])), "normalization keeps the numbers of `keep`")


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b))
