"""A pool of earlier generated images, so that the discriminator remembers old fakes (Shrivastava et al. 2017)."""

import torch
from torch import Tensor

from ctcycle.runs import ranks


class ImagePool:
    """A pool that returns a mix of new and old generated images (Zhu et al. 2017 use a size of 50).

    Every rank keeps the same pool, of the images of all ranks.

    Args:
        size: number of images kept; 0 disables the pool, and every image is returned unchanged.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._images: list[Tensor] = []

    def exchange(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Return a batch for the discriminator in which each image is swapped for an older one with probability ½.

        A swapped-out image takes the place of the older one in the pool. Until the pool is full, every image is stored
        and returned unchanged. Images of another size, from before patches grew, are dropped.

        Args:
            images: (N, C, H, W), detached.
            rng: a CPU generator; two numbers are drawn per image once the pool is full.
        """
        if self.size == 0:
            return images
        if self._images and self._images[0].shape != images.shape[1:]:
            self._images = []
        return ranks.with_whole_batch(
            lambda whole: torch.stack([self._exchange_one(image, rng) for image in whole]), images
        )

    def _exchange_one(self, image: Tensor, rng: torch.Generator) -> Tensor:
        if len(self._images) < self.size:
            self._images.append(image.clone())
            return image
        keep = torch.rand((), generator=rng).item() < 0.5
        index = int(torch.randint(self.size, (), generator=rng))
        if keep:
            return image
        old, self._images[index] = self._images[index], image.clone()
        return old.to(image.device)  # a pool loaded from a checkpoint is on the CPU

    def state_dict(self) -> dict[str, list[Tensor]]:
        """Return the stored images, in order."""
        return {"images": list(self._images)}

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        """Restore the state returned by `state_dict`."""
        self._images = list(state["images"])
