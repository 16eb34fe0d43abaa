"""Whose lips move with the sound, and by how much the picture comes late.

Lips and sound are embedded frame by frame in one space. The mean agreement of lips at frame v with
sound at frame v - lag, over many lags, has a peak where they belong together; how far the peak
stands above the other lags is the score of a face. What the network is shown is mended by the
offset that is to be expected after that curve, to a part of a frame.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from avse.lip_agreement import LagCurve, SpeakerConfig, lag_curve
from models.lip_sync import LipSync
from preprocessing.mouth_store import release_pages
from preprocessing.target import FaceChoice, choose_tracks, parse_choice
from preprocessing.types import MouthTrack, PreparedClip

_BLOCK_FRAMES = 1000
STEP_FRAMES = 0.25


@dataclass(frozen=True, slots=True)
class SpeakingScore:
    """How well one mouth moves with the sound.

    Attributes:
        track_id: The face.
        score: Mean cosine of lips and sound at the clip's offset, less what chance gives.
        offset_frames: Where this face's own agreement is best: frames the picture comes late.
        confidence: How sure that peak is; 1 or more is sure.
        n_frames: Frames it was measured on; 0 where nothing could be compared.
        timing_frames: Frames by which the picture has to be expected to come late, near the clip's
            offset, however little is sure.
    """

    track_id: int
    score: float
    offset_frames: int
    confidence: float
    n_frames: int
    timing_frames: float = 0.0


@dataclass(frozen=True, slots=True)
class Choice:
    """A face that was chosen.

    Attributes:
        track_id: The face.
        score: How well its lips move with the sound; None where that was not measured.
        offset_frames: 25 fps frames by which the picture comes late, to be mended for the network:
            a large offset where the measurement is confident, and what is likely beside it.
        confidence: How sure a large offset is; below 1 it is not mended.
        why: One sentence for the report.
    """

    track_id: int
    score: float | None
    offset_frames: float
    confidence: float
    why: str


def choose_speaker(
    prepared: PreparedClip,
    choice: FaceChoice | str,
    lip_sync: LipSync | None = None,
    config: SpeakerConfig | None = None,
) -> list[Choice]:
    """Faces that the choice means, with the clip's offset between picture and sound.

    Args:
        prepared: The clip.
        choice: `auto | largest | all | <track> | x,y,w,h@t`.
        lip_sync: The lips/sound network; without it `auto` means `largest`, no offset is known.
        config: How agreement is measured.

    Returns:
        Best first; none where the clip has no face.

    Raises:
        FaceChoiceInvalid: The choice cannot be read.
        FaceNotFound: The face that was asked for is not there.
    """
    config = config or SpeakerConfig()
    wanted = parse_choice(choice) if isinstance(choice, str) else choice
    if lip_sync is None:
        chosen = choose_tracks(prepared.tracks, wanted)
        return [Choice(i, None, 0, 0.0, _why(wanted, i, {}, config)) for i in chosen]
    scores = score_tracks(prepared, lip_sync, config)
    ranking = {i: score.score for i, score in scores.items() if score.n_frames}
    offset_frames, confidence = clip_offset(list(scores.values()), config)
    timing = {i: score.timing_frames for i, score in scores.items()}
    return [
        Choice(
            i,
            ranking.get(i),
            timing.get(i, float(offset_frames)),
            confidence,
            _why(wanted, i, scores, config),
        )
        for i in choose_tracks(prepared.tracks, wanted, ranking)
    ]


def score_tracks(
    prepared: PreparedClip, lip_sync: LipSync, config: SpeakerConfig | None = None
) -> dict[int, SpeakingScore]:
    """How well each mouth moves with the sound, by track id.

    All faces of a clip share one offset, so the score of each is read where the most confident
    one has its peak, and near 0 where none is confident.
    """
    config = config or SpeakerConfig()
    n_frames = min(config.max_track_frames, config.max_frames // max(1, len(prepared.mouths)))
    curves = {
        track_id: lag_curve(prepared.audio, mouth, lip_sync, config, n_frames)
        for track_id, mouth in prepared.mouths.items()
    }
    own = [_own_peak(track_id, curve, config) for track_id, curve in curves.items()]
    offset_frames, _ = clip_offset(own, config)
    return {
        score.track_id: replace(
            score,
            score=_height(curves[score.track_id], offset_frames, config),
            timing_frames=expected_offset(curves[score.track_id], offset_frames, config),
        )
        for score in own
    }


def clip_offset(scores: Sequence[SpeakingScore], config: SpeakerConfig) -> tuple[int, float]:
    """Frames by which the picture comes late, 0 where that is not sure or not worth mending.

    Returns:
        The offset and the confidence of the most confident face.
    """
    best = max(scores, key=lambda score: score.confidence, default=None)
    if best is None:
        return 0, 0.0
    is_sure = best.confidence >= 1.0
    is_worth = abs(best.offset_frames) >= config.min_offset_frames
    return (best.offset_frames if is_sure and is_worth else 0), best.confidence


def expected_offset(curve: LagCurve, near_frames: int, config: SpeakerConfig) -> float:
    """Mean of the offsets near `near_frames`, each as likely as the curve and habit make it.

    Cameras and cuts put most pictures a frame or so beside their sound, and lips say much less
    to a network that sees them at the wrong moment. With `n` frames whose agreement at a lag is
    `c(lag)` on average, `p(lag) ~ exp(evidence n c(lag) - (lag - near)^2 / (2 usual^2))`: a short
    clip, or a curve without a peak, leaves the offset near where it was.
    """
    if not curve.n_frames:
        return float(near_frames)
    away = np.arange(-config.fine_frames, config.fine_frames + STEP_FRAMES / 2, STEP_FRAMES)
    agreement = np.interp(near_frames + away, curve.lags, curve.means)
    logs = config.evidence * curve.n_frames * agreement - away**2 / (2 * config.usual_frames**2)
    weights = np.exp(logs - logs.max())
    return float(near_frames + (weights * away).sum() / weights.sum())


def shift_mouth(mouth: MouthTrack, offset_frames: float) -> MouthTrack:
    """The mouth `offset_frames` earlier, for the network only; what moves in is invisible.

    Whole frames are moved, which copies every crop; the rest, less than a frame, is left in
    `lag_frames`.

    Args:
        mouth: `V` frames; crops that lie in a file give crops that lie in a file.
        offset_frames: Frames by which the picture comes late; negative where it leads.
    """
    whole = int(offset_frames)
    moved = _moved(mouth, whole) if whole else mouth
    return replace(moved, lag_frames=offset_frames - whole)


def _moved(mouth: MouthTrack, offset_frames: int) -> MouthTrack:
    n_frames = len(mouth.crops)
    start, stop = max(0, -offset_frames), n_frames - max(0, offset_frames)
    crops = _blank_like(mouth.crops)
    is_visible = np.zeros(n_frames, np.bool_)
    points = np.full_like(mouth.landmarks_px, np.nan)
    for first in range(start, stop, _BLOCK_FRAMES):
        last = min(stop, first + _BLOCK_FRAMES)
        source = slice(first + offset_frames, last + offset_frames)
        crops[first:last] = mouth.crops[source]
        is_visible[first:last] = mouth.is_visible[source]
        points[first:last] = mouth.landmarks_px[source]
        release_pages(mouth.crops)
        release_pages(crops)
    return MouthTrack(crops, is_visible, mouth.start_s, points, mouth.is_turned, mouth.is_obscured)


def _blank_like(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Zeros, in a temporary file where the crops lie in one."""
    if not isinstance(crops, np.memmap):
        return np.zeros_like(crops)
    with tempfile.TemporaryFile() as file:
        file.truncate(crops.nbytes)
        return np.memmap(file, np.uint8, mode="r+", shape=crops.shape)


def _is_known(curve: LagCurve) -> NDArray[np.bool_]:
    """Lags measured on at least half of the frames; fewer are mostly noise."""
    return curve.counts >= max(1.0, 0.5 * curve.n_frames)


def _away(curve: LagCurve, peak: int, config: SpeakerConfig) -> NDArray[np.float64]:
    """Agreement at the known lags away from the peak: what chance gives."""
    return curve.means[_is_known(curve) & (np.abs(curve.lags - peak) > config.peak_frames)]


def _height(curve: LagCurve, lag: int, config: SpeakerConfig) -> float:
    """Best agreement within a frame of a lag, less what chance gives."""
    near = curve.means[_is_known(curve) & (np.abs(curve.lags - lag) <= 1)]
    away = _away(curve, lag, config)
    return float(near.max() - away.mean()) if len(near) and len(away) else 0.0


def _own_peak(track_id: int, curve: LagCurve, config: SpeakerConfig) -> SpeakingScore:
    """Where one face agrees best with the sound, and how sure that is."""
    is_allowed = (np.abs(curve.lags) <= config.max_offset_frames) & _is_known(curve)
    if not curve.n_frames or not is_allowed.any():
        return SpeakingScore(track_id, 0.0, 0, 0.0, 0)
    at = int(np.where(is_allowed, curve.means, -np.inf).argmax())
    peak, top = int(curve.lags[at]), float(curve.means[at])
    away = _away(curve, peak, config)
    height = top - float(away.mean()) if len(away) else 0.0
    confidence = _confidence(top, away, curve.n_frames, config)
    return SpeakingScore(track_id, height, peak, confidence, curve.n_frames)


def _confidence(
    top: float, away: NDArray[np.float64], n_frames: int, config: SpeakerConfig
) -> float:
    """How sure a peak is; 1 or more is sure.

    The peak must stand out from the spread of the other lags and above the best of them; the
    shorter the stretch, the farther. Found on people not in training, see `SpeakerConfig`.
    """
    if n_frames < config.min_offset_base_frames or not len(away):
        return 0.0
    in_spreads = (top - float(away.mean())) / max(float(away.std()), 1e-3)
    margin = (top - float(away.max())) * n_frames**0.5
    sure: float = min(in_spreads / config.sure_spreads, margin / config.sure_margin)
    return max(0.0, sure)


def _why(
    wanted: FaceChoice, track_id: int, scores: dict[int, SpeakingScore], config: SpeakerConfig
) -> str:
    """One sentence about the choice."""
    if wanted.kind in ("track", "box"):
        return "asked for"
    if wanted.kind != "auto":
        return "every visible face" if wanted.kind == "all" else "the largest face"
    score = scores.get(track_id)
    if score is None or not score.n_frames:
        return "the largest face; agreement of lips and sound could not be measured"
    others = [s.score for i, s in scores.items() if i != track_id and s.n_frames]
    told = f"lips and sound agree by {score.score:.2f} above chance"
    if not others:
        return f"the only face; {told}"
    return f"{told}, the next face by {max(others):.2f}"
