"""timm's Inception-v3 with an auxiliary head that works in training only, as its authors have it."""

from __future__ import annotations

from timm.models.inception_v3 import InceptionV3


class InceptionV3Auxiliary(InceptionV3):
    """Images [B, 3, H, W] -> logits [B, K], in training (logits, auxiliary logits) where it was made with aux_logits.

    timm's own gives both in evaluation too, where whoever calls a classifier expects one tensor.
    """

    def train(self, mode: bool = True) -> InceptionV3Auxiliary:
        super().train(mode)
        self.aux_logits = mode and self.AuxLogits is not None
        return self
