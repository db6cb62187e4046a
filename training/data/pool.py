"""Training crops from pictures that stay in memory, cut on the device that trains."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model.errors import ParameterError
from model.types import Limits, Pixels
from training.data.pictures import load_pictures


@dataclass(frozen=True, eq=False)
class PicturePool:
    """Decoded pictures in one buffer, from which batches of random crops are gathered at once.

    Attributes:
        pixels: [N, 3] uint8, all pixels of all pictures, row by row, on the device that trains.
        starts: [K] int64, where each picture begins in `pixels`.
        heights: [K] int64.
        widths: [K] int64.
        chances: [K] float32, how often each picture is drawn; they sum to 1.
        broken: files that could not be read.
        small: files that were left out because a crop does not fit.
    """

    pixels: Tensor
    starts: Tensor
    heights: Tensor
    widths: Tensor
    chances: Tensor
    broken: tuple[Path, ...] = ()
    small: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def of(
        cls,
        arrays: Sequence[Pixels],
        *,
        weights: Sequence[float] | None = None,
        device: torch.device | str = "cpu",
        broken: tuple[Path, ...] = (),
        small: tuple[Path, ...] = (),
    ) -> "PicturePool":
        """A pool of [H, W, 3] pictures.

        A picture is drawn with a chance proportional to its weight: its area if None, so that all pixels are seen
        equally often.

        Raises:
            ParameterError: no pictures, or something else than pictures.
        """
        if not arrays:
            raise ParameterError("a pool needs at least one picture")
        areas = torch.tensor([_area(array) for array in arrays])
        chances = areas if weights is None else torch.tensor(weights)
        ends = areas.cumsum(0)
        starts = ends - areas
        pixels = torch.empty((int(ends[-1]), 3), dtype=torch.uint8, device=device)
        for array, start, end in zip(arrays, starts.tolist(), ends.tolist(), strict=True):
            if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
                raise ParameterError(f"expected HxWx3 uint8, got {array.shape} {array.dtype}")
            # Writeable, or torch warns.
            flat = np.require(array.reshape(-1, 3), requirements=["C", "W"])
            pixels[start:end].copy_(torch.from_numpy(flat))
        return cls(
            pixels=pixels,
            starts=starts,
            heights=torch.tensor([array.shape[0] for array in arrays]),
            widths=torch.tensor([array.shape[1] for array in arrays]),
            chances=chances / chances.sum(),
            broken=broken,
            small=small,
        )

    def crops(
        self, batch: int, patch: int, *, generator: torch.Generator, part: slice = slice(None)
    ) -> Tensor:
        """Random crops, [batch, 3, patch, patch] uint8 in channels_last order, on the pool's device.

        Half of them are mirrored and half are transposed, so that all four combinations are equally frequent.
        Everything random is drawn on the CPU: a seed gives the same crops on every device.

        Args:
            batch: how many.
            patch: their side, in pixels.
            generator: on the CPU; it moves on.
            part: of the batch that is cut out and returned, where several processes share one.

        Raises:
            ParameterError: a picture of the pool is smaller than a crop.
        """
        smallest = int(torch.minimum(self.heights, self.widths).min())
        if patch < 1 or batch < 1 or patch > smallest:
            raise ParameterError(f"{batch} crops of {patch} pixels from pictures of {smallest} and more")
        which = torch.multinomial(self.chances, batch, replacement=True, generator=generator)  # [B]
        uniform = torch.rand((2, batch), dtype=torch.float64, generator=generator)
        top = (uniform[0] * (self.heights[which] - patch + 1)).long()
        left = (uniform[1] * (self.widths[which] - patch + 1)).long()
        mirrored, transposed = torch.rand((2, batch), generator=generator) < 0.5
        corner = self.starts[which] + top * self.widths[which] + left
        return self._gather(patch, corner[part], self.widths[which][part], mirrored[part], transposed[part])

    def _gather(
        self, patch: int, corner: Tensor, width: Tensor, mirrored: Tensor, transposed: Tensor
    ) -> Tensor:
        """The crops whose first pixels are at `corner`: a crop is an affine walk, `corner + i dy + j dx`."""
        one = torch.ones_like(width)
        down, right = torch.where(transposed, one, width), torch.where(transposed, width, one)
        corner = torch.where(mirrored, corner + (patch - 1) * right, corner)
        right = torch.where(mirrored, -right, right)
        walk = torch.stack((corner, down, right)).to(self.pixels.device)[:, :, None, None]  # [3, B, 1, 1]
        steps = torch.arange(patch, device=self.pixels.device)
        index = walk[0] + steps[:, None] * walk[1] + steps * walk[2]  # [B, P, P]
        crops = self.pixels.index_select(0, index.flatten())
        return crops.view(len(corner), patch, patch, 3).permute(0, 3, 1, 2)


def load_pool(
    patterns: Iterable[str],
    *,
    patch: int,
    scales: Iterable[float] = (1.0,),
    device: torch.device | str = "cpu",
    limits: Limits | None = None,
    progress: bool = False,
) -> PicturePool:
    """The pool of all pictures that match some glob patterns and that hold a crop of `patch` pixels.

    Each is there once for each of `scales` (of its sides) at which it still holds one. Its weight is its area then;
    enlarged it has that of a picture that is smaller by as much, since it is softer, not more.

    Raises:
        ParameterError: a pattern matches nothing, or every picture is smaller than a crop.
        BrokenImageError: more than 5 % of the files cannot be read; names the first.
    """
    found = load_pictures(patterns, min_side=patch, limits=limits, progress=progress)
    arrays: list[Pixels] = []
    weights: list[float] = []
    for picture in found.pictures:
        own = _area(picture.array)
        for array in _scaled(picture.array, scales, least=patch):
            arrays.append(array)
            weights.append(min(_area(array), own**2 / _area(array)))
    return PicturePool.of(arrays, weights=weights, device=device, broken=found.broken, small=found.small)


def _area(array: Pixels) -> int:
    return int(array.shape[0] * array.shape[1])


def _scaled(array: Pixels, scales: Iterable[float], *, least: int) -> Iterator[Pixels]:
    """A picture at each scale that leaves its sides at `least` pixels; filtered by Lanczos, as editors do."""
    height, width = array.shape[:2]
    for scale in scales:
        size = (round(width * scale), round(height * scale))
        if min(size) < least:
            continue
        if size == (width, height):
            yield array
        else:
            yield np.asarray(Image.fromarray(array).resize(size, Image.Resampling.LANCZOS))
