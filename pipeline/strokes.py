"""Anti-aliased strokes for the renderer: outlined limbs, joints, captions; cv2, in place."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

# BGR. Okabe and Ito, "Color Universal Design": sky blue, orange.
LEFT: Colour = (233, 180, 86)
RIGHT: Colour = (10, 150, 240)
CENTRE: Colour = (228, 228, 228)
#: for people, by their number: the same palette's other colours and those two
PEOPLE: tuple[Colour, ...] = (
    (10, 150, 240), (233, 180, 86), (115, 178, 0), (66, 228, 240), (177, 131, 214), (80, 100, 235), (200, 140, 40),
)  # fmt: skip
INK: Colour = (34, 28, 24)
WARNING: Colour = (60, 190, 250)

_SHIFT = 4  # cv2 draws at 1/16 pixel: slow motion does not jitter
_FAR = 320_000.0
_HALO = 0.42  # of a halo's colour, the rest is what lies below


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    """`share` of `colour`, the rest of `other`."""
    rest = 1 - share
    return (
        round(share * colour[0] + rest * other[0]),
        round(share * colour[1] + rest * other[1]),
        round(share * colour[2] + rest * other[2]),
    )


def _fixed(point: Sequence[float] | npt.NDArray) -> tuple[int, int]:
    # Far outside is as good as outside, and cv2's integers do not overflow.
    x, y = float(point[0]) * 16, float(point[1]) * 16
    return int(min(max(x, -_FAR), _FAR)), int(min(max(y, -_FAR), _FAR))


def line(image: Image, a: npt.NDArray, b: npt.NDArray, colour: Colour, width: float) -> None:
    """A plain line of `width` pixels."""
    cv2.line(image, _fixed(a), _fixed(b), colour, max(1, round(width)), cv2.LINE_AA, _SHIFT)


def limb(
    image: Image,
    a: npt.NDArray,
    b: npt.NDArray,
    colour: Colour,
    width: float,
    opacity: float = 1.0,
    dashed: bool = False,
    outline: Colour = INK,
) -> None:
    """A line from a to b (pixels) with a dark outline; dashed and see-through on demand."""
    if opacity >= 0.97:
        _stroke(image, a, b, colour, width, dashed, outline)
        return
    region, corner = _around(image, a, b, width + 4)
    if region.size:
        drawn = region.copy()
        _stroke(drawn, a - corner, b - corner, colour, width, dashed, outline)
        cv2.addWeighted(drawn, opacity, region, 1 - opacity, 0, dst=region)


def _around(image: Image, a: npt.NDArray, b: npt.NDArray, margin: float) -> tuple[Image, npt.NDArray]:
    """The rectangle of `image` around what lies between two points, and its corner (x, y).

    Blending that only: the whole picture would cost more than everything else together.
    """
    (ax, ay), (bx, by) = a.tolist(), b.tolist()
    rows, columns = image.shape[:2]
    x0, x1 = (int(min(max(x, 0), columns)) for x in (min(ax, bx) - margin, max(ax, bx) + margin + 1))
    y0, y1 = (int(min(max(y, 0), rows)) for y in (min(ay, by) - margin, max(ay, by) + margin + 1))
    return image[y0:y1, x0:x1], np.array([x0, y0])


def _stroke(
    image: Image, a: npt.NDArray, b: npt.NDArray, colour: Colour, width: float, dashed: bool, outline: Colour
) -> None:
    for start, end in _dashes(a, b, 2.6 * width + 2) if dashed else [(a, b)]:
        line(image, start, end, outline, width + max(2.0, 0.5 * width))
        line(image, start, end, colour, width)


def _dashes(a: npt.NDArray, b: npt.NDArray, step: float) -> list[tuple[npt.NDArray, npt.NDArray]]:
    count = int(min(40, max(2, np.hypot(*(b - a)) // (2 * step))))
    cuts = np.linspace(0.0, 1.0, 2 * count)
    return [(a + (b - a) * s, a + (b - a) * e) for s, e in zip(cuts[::2], cuts[1::2], strict=True)]


def disc(image: Image, at: npt.NDArray, radius: float, colour: Colour, hollow: bool = False) -> None:
    """A joint: an outlined disc of `radius` pixels, or a ring."""
    centre = _fixed(at)
    cv2.circle(image, centre, round((radius + 1) * 16), INK, -1, cv2.LINE_AA, _SHIFT)
    cv2.circle(image, centre, round(radius * 16), colour, 1 if hollow else -1, cv2.LINE_AA, _SHIFT)


def halo(image: Image, at: npt.NDArray, radius: float, colour: Colour) -> None:
    """A faint, see-through disc of `radius` pixels with a thin rim."""
    region, corner = _around(image, at, at, radius + 3)
    if not region.size:
        return
    drawn, centre, size = region.copy(), _fixed(at - corner), round(min(radius, _FAR) * 16)
    cv2.circle(drawn, centre, size, mix(colour, INK, 0.5), -1, cv2.LINE_AA, _SHIFT)
    cv2.circle(drawn, centre, size, colour, 1, cv2.LINE_AA, _SHIFT)
    cv2.addWeighted(drawn, _HALO, region, 1 - _HALO, 0, dst=region)


def text(
    image: Image, words: str, at: Sequence[float], size: float, colour: Colour = (240, 240, 240)
) -> None:
    """Words with their lower left corner at `at` (x, y), dark-edged, kept inside the image where they fit."""
    (width, height), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    x = int(min(max(at[0], 2), max(2, image.shape[1] - width - 2)))
    y = int(min(max(at[1], height + 2), max(height + 2, image.shape[0] - 4)))
    cv2.putText(image, words, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, INK, 3, cv2.LINE_AA)
    cv2.putText(image, words, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)


def text_box(image: Image, words: str, y: int, colour: Colour, size: float) -> int:
    """Words on a darkened strip at the left, below `y`. Returns where the strip ends."""
    (width, height), base = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    pad = max(4, round(10 * size))
    end = y + height + base + pad
    strip = image[y:end, : width + 2 * pad]
    np.right_shift(strip, 2, out=strip)
    cv2.putText(
        image, words, (pad, y + height + pad // 2 + 1), cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA
    )
    return end
