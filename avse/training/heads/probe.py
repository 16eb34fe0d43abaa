"""A linear classifier on frozen features: where the picture towers begin.

With a few hundred clips a random classifier pulls the layers below it apart before it has learned
anything; one that is fitted first leaves them what they know.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avse.training.heads.training import Head, Material, Part

L2 = 0.01
N_STEPS = 60
FLOOR = 0.1


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

    The fit is on standardised features, their scale then folded into the weights. A deviation
    counts as at least a tenth of the mean one more: features that hardly ever fire would get
    weights in which any change of the layers below explodes.
    """
    deviation = x.std(0)
    deviation = deviation + FLOOR * deviation.mean()
    mean = x.mean(0)
    standard = (x - mean) / deviation
    weight = torch.zeros(n_classes, x.shape[1], requires_grad=True)
    bias = torch.zeros(n_classes, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=N_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        logits = standard @ weight.T + bias
        loss = F.cross_entropy(logits, labels) + L2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    folded = weight.detach() / deviation
    return folded, bias.detach() - folded @ mean


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
