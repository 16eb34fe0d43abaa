"""Late fusion: the towers meet in the mean of their logits only."""

from models.fusion.base import Fusion


class LateFusion(Fusion):
    """Features pass untouched; the decision is the mean of the logits.

    Reference:
        Simonyan and Zisserman, Two-stream convolutional networks, 2014 (averaging).
    """
