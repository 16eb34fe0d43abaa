"""One training of the digits experiment: a method, a share of the sound, a seed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avse.errors import ConfigError
from avse.training.digits.config import DigitsConfig, Method
from avse.training.digits.networks import (
    Attentive,
    Autoencoder,
    DigitNet,
    FilledJoint,
    Frozen,
    ImageOnly,
    Joint,
    Missing,
    Separate,
    SoundOnly,
)
from avse.training.digits.protocol import N_CLASSES, Pairs
from avse.training.digits.towers import (
    N_IMAGE_FEATURES,
    N_SOUND_FEATURES,
    ImageTower,
    SoundTower,
    head,
)
from avse.training.meta import Parameters, adapted
from models.smil import Smil, SmilOutput, cluster_centres
from preprocessing.types import Progress, no_progress


@dataclass(frozen=True, slots=True)
class Step:
    """What one step learns from: the same for every method.

    Attributes:
        some: Pairs of the whole training set, whose sound is not looked at.
        complete: Pairs with sound.
    """

    some: Pairs
    complete: Pairs


class Fitting:
    """Trains the networks of one draw; the sound tower is trained once."""

    def __init__(
        self,
        train: Pairs,
        config: DigitsConfig,
        seed: int,
        progress: Progress = no_progress,
        image: ImageOnly | None = None,
    ) -> None:
        """Take the training pairs.

        Args:
            train: All pairs; which have sound is part of them.
            config: Settings.
            seed: Of weights, batches, noise.
            progress: Called as (stage, done, total).
            image: The network of the picture alone, where another share of this seed has it.
        """
        self.train = train
        self.complete = train.part(train.has_sound)
        self.incomplete = train.part(~train.has_sound)
        self.config = config
        self.seed = seed
        self.progress = progress
        self.generator = torch.Generator().manual_seed(seed)
        self._sound: SoundOnly | None = None
        self._image = image

    def fit(self, method: Method) -> DigitNet:
        """The trained network of a method, in eval mode.

        Raises:
            ValueError: The method is unknown.
        """
        build: dict[Method, Callable[[], DigitNet]] = {
            "image": self.image,
            "sound": self.sound,
            "separate": lambda: Separate(self.image(), self.sound()),
            "full": self._full,
            "zeros": lambda: self._joint(Joint(self._tower(), self.config.dropout)),
            "autoencoder": self._autoencoder,
            "msaf": lambda: self._joint(Attentive(self._tower(), self.config.dropout)),
            "smil": self._smil,
        }
        if method not in build:
            raise ValueError(f"method: expected one of {list(build)}, found {method!r}")
        self.sound()
        torch.manual_seed(self.seed)
        self.generator.manual_seed(self.seed)
        return build[method]().eval()

    def sound(self) -> SoundOnly:
        """The sound alone, from the pairs that have it."""
        if self._sound is None:
            torch.manual_seed(self.seed)
            net = SoundOnly(self.config.dropout)

            def loss(step: Step) -> Tensor:
                return F.cross_entropy(net(*_inputs(step.complete)), step.complete.labels)

            self._optimise("sound", net, loss, self.config.n_sound_steps)
            self._sound = net.eval()
        return self._sound

    @property
    def trained_image(self) -> ImageOnly | None:
        """The network of the picture alone, if it has been trained; it needs no sound."""
        return self._image

    def _tower(self) -> SoundTower:
        return self.sound().sound

    def image(self) -> ImageOnly:
        """The picture alone, from all pairs; trained once."""
        if self._image is not None:
            return self._image
        net = ImageOnly(self.config.dropout)

        def loss(step: Step) -> Tensor:
            return F.cross_entropy(net(step.some.images, None), step.some.labels)

        self._optimise("image", net, loss, self.config.n_steps)
        self._image = net.eval()
        return net

    def _full(self) -> Joint:
        """As if nothing could be missing: never trained without sound."""
        net = Joint(self._tower(), self.config.dropout)

        def loss(step: Step) -> Tensor:
            return F.cross_entropy(net(*_inputs(step.complete)), step.complete.labels)

        self._optimise("full", net, loss, self.config.n_steps)
        return net

    def _joint(self, net: DigitNet) -> DigitNet:
        """Trained with and without sound in every step."""

        def loss(step: Step) -> Tensor:
            without = F.cross_entropy(net(step.some.images, None), step.some.labels)
            complete = F.cross_entropy(net(*_inputs(step.complete)), step.complete.labels)
            return without + complete

        self._optimise("joint", net, loss, self.config.n_steps)
        return net

    def _autoencoder(self) -> DigitNet:
        """First the features of the sound from the image, then the joint network on them."""
        autoencoder, tower = Autoencoder(), self._tower().eval()

        def loss(step: Step) -> Tensor:
            images, sounds = _inputs(step.complete)
            with torch.no_grad():
                wanted = tower(sounds)
            return F.mse_loss(autoencoder(images), wanted)

        self._optimise("autoencoder", autoencoder, loss, self.config.n_autoencoder_steps)
        return self._joint(FilledJoint(self._tower(), self.config.dropout, autoencoder))

    def _smil(self) -> Missing:
        """Inner step on incomplete pairs, judged on complete ones."""
        config = self.config.meta
        tower = Frozen(self._tower())
        priors = cluster_centres(tower(self.complete.sounds), config.model.n_priors, self.generator)
        joint_head = head(N_IMAGE_FEATURES + N_SOUND_FEATURES, N_CLASSES, self.config.dropout)
        smil = Smil(ImageTower(), tower, joint_head, priors, config.model)
        names = list(smil.backbone())

        def loss(step: Step) -> Tensor:
            def inner(parameters: Parameters) -> Tensor:
                out = self._call(smil, parameters, step.some.images, None)
                return F.cross_entropy(out.logits, step.some.labels)

            moved, first = adapted(
                smil, inner, names,
                rate=config.inner_rate,
                n_steps=config.n_inner_steps,
                is_second_order=config.is_second_order,
            )  # fmt: skip
            return first + self._outer(smil, moved, step.complete)

        self._optimise("smil", smil, loss, self.config.n_steps)
        return Missing(smil)

    def _outer(self, smil: Smil, parameters: Parameters, complete: Pairs) -> Tensor:
        """How well the adapted network does on complete pairs, with their sound and without."""
        config = self.config.meta
        images, sounds = _inputs(complete)
        without = self._call(smil, parameters, images, None)
        both = self._call(smil, parameters, images, sounds)
        gaps = [F.mse_loss(a, b.detach()) for a, b in zip(without.hidden, both.hidden, strict=True)]
        return (
            F.cross_entropy(without.logits, complete.labels)
            + config.complete_weight * F.cross_entropy(both.logits, complete.labels)
            + config.reconstruction_weight * F.mse_loss(without.second, both.second)
            + config.alignment_weight * torch.stack(gaps).sum()
            + config.divergence_weight * without.divergence
        )

    def _call(
        self, smil: Smil, parameters: Parameters, images: Tensor, sounds: Tensor | None
    ) -> SmilOutput:
        arguments = (images, sounds, self.generator)
        out = torch.func.functional_call(smil, dict(parameters), arguments)
        assert isinstance(out, SmilOutput)
        return out

    def _optimise(
        self, stage: str, net: nn.Module, loss: Callable[[Step], Tensor], n_steps: int
    ) -> None:
        """Minimise.

        Raises:
            ConfigError: The loss is no longer finite.
        """
        learned: Iterable[Tensor] = [p for p in net.parameters() if p.requires_grad]
        optimiser = torch.optim.Adam(
            learned,
            self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            fused=True,
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
        net.train()
        for step in range(n_steps):
            optimiser.zero_grad()
            value = loss(self._draw())
            if not torch.isfinite(value):
                raise ConfigError(f"{stage}: no finite loss at step {step}; take smaller steps")
            torch.autograd.backward(value)
            optimiser.step()
            schedule.step()
            self.progress(stage, step + 1, n_steps)

    def _draw(self) -> Step:
        some = self._chosen(self.train, self.config.batch_size)
        complete = self._chosen(self.complete, self.config.n_complete)
        shifted = self._shifted(complete.sounds)
        return Step(some, Pairs(complete.images, shifted, complete.labels, complete.has_sound))

    def _chosen(self, pairs: Pairs, n_wanted: int) -> Pairs:
        return pairs.part(torch.randint(len(pairs), (n_wanted,), generator=self.generator))

    def _shifted(self, sounds: Tensor) -> Tensor:
        """Each a few frames later or earlier; the last or first frame fills the gap."""
        furthest = self.config.sound_shift_frames
        n_batch, _, n_mels, n_frames = sounds.shape
        shift = torch.randint(-furthest, furthest + 1, (n_batch, 1), generator=self.generator)
        places = (torch.arange(n_frames) + shift).clamp(0, n_frames - 1)
        return sounds.gather(3, places[:, None, None].expand(-1, 1, n_mels, -1))


@torch.no_grad()
def accuracy(net: DigitNet, pairs: Pairs, *, with_sound: bool) -> float:
    """Share of pairs that are classified right, in percent."""
    net.eval()
    n_right = 0
    for part in torch.split(torch.arange(len(pairs)), 500):
        images, sounds = _inputs(pairs.part(part))
        logits = net(images, sounds if with_sound else None)
        n_right += int((logits.argmax(1) == pairs.labels[part]).sum())
    return 100 * n_right / len(pairs)


def _inputs(pairs: Pairs) -> tuple[Tensor, Tensor]:
    return pairs.images, pairs.sounds
