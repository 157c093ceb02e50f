"""`Decoder`: a model that decodes no latent twice, for a widget that draws the same step again."""

from __future__ import annotations

from PIL import Image
from torch import Tensor

from sagviz.models import Model, as_model

REMEMBERED = 8  # pictures: those of a step under two settings, and some to go back to


class Decoder:
    """What a model makes of clean latents, the last few pictures remembered: where a threshold is
    moved, prediction and blurred prediction stay as they are.

    The model must not change meanwhile.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._known: dict[object, Image.Image] = {}

    @property
    def latent_rgb(self) -> Tensor:
        """The model's linear map from latents to colours."""
        return self.model.latent_rgb

    def decode(self, latents: Tensor) -> list[Image.Image]:
        """One latent (1, C, H, W) to a picture of one's own."""
        key = latents.shape, latents.numpy().tobytes()
        picture = self._known.pop(key, None) or self.model.decode(latents)[0]
        self._known = {**dict(list(self._known.items())[1 - REMEMBERED :]), key: picture}
        return [picture.copy()]


def as_decoder(value: object) -> Model | Decoder:
    """A decoder as it is, anything else as a model."""
    return value if isinstance(value, Decoder) else as_model(value)
