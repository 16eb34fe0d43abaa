"""A linear classifier on frozen features: where the picture towers begin.

With a few hundred clips a random classifier pulls the layers below it apart before it has learned
anything; one that is fitted first leaves them what they know.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avse.training.heads.training import Head, Material, Part

N_STEPS = 300
RATE = 0.01
WEIGHT_DECAY = 0.05
SMOOTHING = 0.1
MIN_DEVIATION = 1e-4


def fit_classifier(head: Head, material: Material, part: Part) -> None:
    """Set the classifier of a picture tower to logistic regression on what the tower gives.

    Args:
        head: Changed in place; only the classifier of `part.streams[0]`.
        material: Features.
        part: The stream and the clips to fit on; every cached variant of them is used.

    Reference:
        Kumar et al., Fine-tuning can distort pretrained features, ICLR 2022 (probe first).
    """
    (stream,) = part.streams
    head.eval()
    features = [_last_features(head, material, part, v) for v in range(material.n_variants)]
    labels = material.labels(part.clips).repeat(material.n_variants)
    weight, bias = logistic_regression(torch.cat(features), labels, head.config.n_classes)
    classifier = head.video.tower(stream).classifier
    assert isinstance(classifier, nn.Linear)
    with torch.no_grad():
        classifier.weight.copy_(weight)
        classifier.bias.copy_(bias)


def logistic_regression(x: Tensor, labels: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
    """Weights `[K, D]` and biases `[K]` for features `[N, D]` as they come.

    The fit is on standardised features; their scale is folded into the weights.
    """
    mean, deviation = x.mean(0), x.std(0).clamp(min=MIN_DEVIATION)
    standard = (x - mean) / deviation
    linear = nn.Linear(x.shape[1], n_classes)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    optimiser = torch.optim.AdamW(linear.parameters(), RATE, weight_decay=WEIGHT_DECAY)
    for _ in range(N_STEPS):
        loss = F.cross_entropy(linear(standard), labels, label_smoothing=SMOOTHING)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    weight = linear.weight.detach() / deviation
    return weight, linear.bias.detach() - weight @ mean


@torch.inference_mode()
def _last_features(head: Head, material: Material, part: Part, variant: int) -> Tensor:
    (stream,) = part.streams
    found = []
    for first in range(0, len(part.clips), 32):
        clips = part.clips[first : first + 32]
        x = material.store.read(stream, part.stage, [variant] * len(clips), clips)
        x = x.to(memory_format=torch.channels_last_3d)
        pooled = head.video.tower(stream).pool(head.video.run(stream, x, part.stage))
        found.append(pooled.mean(2))
    return torch.cat(found).clone()
