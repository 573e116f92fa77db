"""A history of generated images, so that a discriminator does not forget old fakes (Shrivastava et al. 2017)."""

import torch
from torch import Tensor


class ImagePool:
    """Hands out half new, half old images (Zhu et al. 2017 keep 50).

    Args:
        size: images kept; 0 hands every image straight through.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._images: list[Tensor] = []

    def exchange(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Images (N, C, H, W) for the discriminator: each new one or, with probability ½, an older one in its place.

        The older image is replaced by the new one. Until the pool is full, every image is kept and handed through.

        Args:
            images: detached images.
            rng: a CPU generator; two numbers are drawn for each image once the pool is full.
        """
        if self.size == 0:
            return images
        return torch.stack([self._exchange_one(image, rng) for image in images])

    def _exchange_one(self, image: Tensor, rng: torch.Generator) -> Tensor:
        if len(self._images) < self.size:
            self._images.append(image.clone())
            return image
        keep = torch.rand((), generator=rng).item() < 0.5
        place = int(torch.randint(self.size, (), generator=rng))
        if keep:
            return image
        old, self._images[place] = self._images[place], image.clone()
        return old.to(image.device)  # a pool that was loaded lies on the CPU

    def state_dict(self) -> dict[str, list[Tensor]]:
        """The images kept, in order."""
        return {"images": list(self._images)}

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        """Puts back what `state_dict` gave."""
        self._images = list(state["images"])
