"""Which mouth a system sees: the target's own, or one that should not help (the control)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from avse.evaluation.disturbances import disturbed, parse_disturbance
from avse.evaluation.errors import NoLips
from avse.evaluation.mixtures import Corpus, stream
from avse.evaluation.trials import TrialFacts
from avse.training.cache import cache_path
from models.mouth_clarity import MouthClarityNet
from preprocessing.mouth_clarity import hide_obscured
from preprocessing.timeline import n_video_frames
from preprocessing.types import MouthTrack

LipsControl = str
"""One of `LIPS_CONTROLS`, or the own lips under a disturbance such as `hidden:0.5`."""
LIPS_CONTROLS: tuple[LipsControl, ...] = ("own", "wrong_person", "same_person_other_clip", "none")
SWAPPED = LIPS_CONTROLS[1:3]

CropsFor = Callable[[str], MouthTrack | None]
MAX_EDGE_FRAMES = 2


def check_control(control: LipsControl) -> None:
    """Nothing, if there is such a control.

    Raises:
        InvalidOptions: There is none.
    """
    if control not in LIPS_CONTROLS:
        parse_disturbance(control)


class CropCache:
    """Mouth crops that the training recipe has cached: `FOLDER/<path, / as __>.npz`."""

    def __init__(self, folder: Path) -> None:
        """Use the crops of a folder; nothing is read yet."""
        self._folder = folder

    def __call__(self, clip: str) -> MouthTrack | None:
        """Crops `[V, 122, 122]` of a clip; None where none were cached (no face was found)."""
        path = cache_path(self._folder, clip)
        if not path.is_file():
            return None
        with np.load(path) as arrays:
            return mouth_track(arrays["crops"], arrays["is_visible"])


def mouth_track(crops: np.ndarray, is_visible: np.ndarray) -> MouthTrack:
    """Crops on the clock of their sound, without landmarks."""
    landmarks_px = np.full((len(crops), 20, 2), np.nan, np.float32)
    return MouthTrack(crops, is_visible.astype(np.bool_), 0.0, landmarks_px)


class Sight:
    """Gives each trial the mouth that a control asks for."""

    def __init__(
        self,
        crops_for: CropsFor,
        corpus: Corpus | None,
        seed: int,
        clarity: MouthClarityNet | None = None,
    ) -> None:
        """Take crops from `crops_for`; the corpus is needed by the controls that swap people.

        With `clarity`, covered and dark mouths are absent, as they are in the product.
        """
        self._clarity = clarity
        self._crops_for = crops_for
        self._corpus = corpus
        self._seed = seed

    def mouth(
        self, facts: TrialFacts, control: LipsControl, n_samples: int
    ) -> tuple[MouthTrack | None, str]:
        """The mouth of a trial and the clip it comes from.

        Raises:
            NoLips: The control asks for crops that do not exist.
            InvalidOptions: There is no such control.
        """
        if control == "none":
            return None, ""
        is_swapped = control in SWAPPED
        clip = self._other(facts, control) if is_swapped else facts.clip
        track = self._crops_for(clip)
        if track is None:
            raise NoLips(f"no mouth crops of {clip}")
        n_frames = n_video_frames(n_samples)
        fitted = repeat_to(track, n_frames) if is_swapped else fit_own(track, n_frames)
        if control not in LIPS_CONTROLS:
            fitted = disturbed(fitted, control, self._seed, clip)
        if self._clarity is not None:
            fitted = hide_obscured(fitted, self._clarity)
        return fitted, clip

    def _other(self, facts: TrialFacts, control: LipsControl) -> str:
        if self._corpus is None:
            raise NoLips(f"{control}: there is no corpus to take another mouth from")
        clips = [c for c in self._corpus.of_split(facts.split) if c.path != facts.clip]
        is_same = control == "same_person_other_clip"
        fitting = [c.path for c in clips if (c.speaker == facts.speaker) == is_same]
        unheard = [path for path in fitting if path not in facts.sources] or fitting
        if not unheard:
            raise NoLips(f"{control}: no such clip for {facts.clip}")
        rng = stream(self._seed, facts.clip, control)
        return unheard[int(rng.integers(len(unheard)))]


def fit_own(track: MouthTrack, n_frames: int) -> MouthTrack:
    """A clip's own crops for its sound; a frame or two at the end may be absent or too many.

    Raises:
        NoLips: The lengths differ by more than that.
    """
    n_own = len(track.crops)
    if abs(n_own - n_frames) > MAX_EDGE_FRAMES:
        raise NoLips(f"expected {n_frames} pictures of the mouth, found {n_own}")
    n_absent = max(0, n_frames - n_own)
    crops = np.pad(track.crops[:n_frames], ((0, n_absent), (0, 0), (0, 0)))
    return mouth_track(crops, np.pad(track.is_visible[:n_frames], (0, n_absent)))


def repeat_to(track: MouthTrack, n_frames: int) -> MouthTrack:
    """Another clip's crops, repeated or cut to a length.

    Raises:
        NoLips: There are no crops.
    """
    if len(track.crops) == 0:
        raise NoLips("expected pictures of a mouth, found none")
    indices = np.arange(n_frames) % len(track.crops)
    return mouth_track(track.crops[indices], track.is_visible[indices])
