"""Pictures distorted as handwriting differs: turned, scaled, slanted, moved and bent.

    more = distorted(pictures, np.random.default_rng(0))
    pool = np.stack([pictures, *(distorted(pictures, rng) for _ in range(15))])

Simard, Steinkraus, Platt, "Best practices for convolutional neural networks applied to visual document analysis",
ICDAR 2003: on handwriting, affine and elastic distortions help more than anything else.
"""

from __future__ import annotations

import numpy as np

__all__ = ["distorted"]

#: Points a side on which the bending is drawn; between them it is smooth.
_KNOTS = 7


def distorted(
    pictures: np.ndarray,
    rng: np.random.Generator,
    *,
    degrees: float = 10,
    scale: float = 0.1,
    slant: float = 0.12,
    pixels: float = 1.5,
    bend: float = 0.8,
) -> np.ndarray:
    """Each picture distorted in its own way, and by its own amount from nothing to these limits.

    pictures: (n, height, width, channels), floats; what comes in from outside is 0.
    rng: draws the distortions: the same generator gives the same pictures.
    degrees: largest rotation about the middle.  scale: largest change of height and width, each.  slant: largest
        shift of a row, in pixels for each pixel of distance from the middle row.  pixels: largest move, each way.
    bend: standard deviation of the elastic displacement, in pixels, at its largest.

    Returns a new array of the same shape and type; linear interpolation, so values stay in their range.

    Raises ValueError for another shape or kind of pictures, or limits that are negative or not finite.
    """
    pictures = np.asarray(pictures)
    if pictures.ndim != 4 or pictures.dtype.kind != "f":
        raise ValueError(
            f"pictures have shape {pictures.shape} of {pictures.dtype}; pass floats (n, height, width, channels)"
        )
    limits = {"degrees": degrees, "scale": scale, "slant": slant, "pixels": pixels, "bend": bend}
    for name, limit in limits.items():
        if not 0 <= limit < np.inf:
            raise ValueError(f"{name} is {limit!r}; pass a number of at least 0")
    rows, columns = _places(pictures.shape, rng, limits)
    made = np.empty_like(pictures)
    for picture, row, column, new in zip(pictures, rows, columns, made, strict=True):
        new[:] = _sampled(picture, row, column)
    return made


def _places(shape: tuple[int, ...], rng: np.random.Generator, limits: dict[str, float]) -> tuple[np.ndarray, ...]:
    """From which row and column each pixel is taken, (n, height, width) each."""
    n, height, width, _ = shape
    amount = rng.random(n)

    def drawn(name: str) -> np.ndarray:
        return (rng.uniform(-1, 1, n) * amount * limits[name])[:, None, None]

    y, x = np.mgrid[:height, :width].astype(np.float64)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    angle = drawn("degrees") * np.pi / 180
    across, down, slant = 1 + drawn("scale"), 1 + drawn("scale"), drawn("slant")
    bend = (limits["bend"] * amount)[:, None, None]
    columns_bent, rows_bent = (bend * _smooth(rng, n, height, width) for _ in range(2))
    columns = across * np.cos(angle) * x + (slant - np.sin(angle)) * y + drawn("pixels") + columns_bent
    rows = np.sin(angle) * x + down * np.cos(angle) * y + drawn("pixels") + rows_bent
    return rows + (height - 1) / 2, columns + (width - 1) / 2


def _smooth(rng: np.random.Generator, n: int, height: int, width: int) -> np.ndarray:
    """(n, height, width): numbers drawn on a coarse grid, with cubic splines between."""
    down, across = _spline(height), _spline(width)
    return np.einsum("ij,njk,lk->nil", down, rng.normal(size=(n, _KNOTS, _KNOTS)), across, optimize=True)


def _spline(size: int) -> np.ndarray:
    """(size, knots): each pixel's weights of the knots."""
    from scipy.ndimage import zoom

    return zoom(np.eye(_KNOTS), (size / _KNOTS, 1), order=3, mode="nearest", grid_mode=True)


def _sampled(picture: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The picture at these places, between four pixels; 0 outside."""
    from scipy.ndimage import map_coordinates

    places = np.stack([rows, columns])
    channels = [
        map_coordinates(channel, places, order=1, mode="constant", cval=0.0)
        for channel in np.moveaxis(picture, -1, 0).astype(np.float32)
    ]
    return np.stack(channels, axis=-1)
