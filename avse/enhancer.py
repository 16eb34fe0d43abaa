"""The one way from a clip to an enhanced clip; everything else in the product goes through it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avse.blending import Parts, needs_sound_alone
from avse.bundle import DEFAULT_BUNDLE, Bundle, load_bundle
from avse.device import default_batch_windows, resolve_device
from avse.highband import PASSED, at_input_rate
from avse.inference import Cleaned, Job, RunConfig, clean, in_turn, n_windows
from avse.output import check_writable, numbered, write_result
from avse.spans import Spans, spans_s
from avse.speaker_choice import LipSyncSpeaker
from avse.targets import SpeakerChooser, Target, audio_only_spans_s, choose_targets
from avse.types import EnhancedClip, EnhanceOptions, EnhanceReport, Mask
from models.errors import BundleInvalid
from preprocessing.media import read_audio
from preprocessing.pipeline import PipelineConfig, prepare
from preprocessing.timeline import SAMPLE_RATE_HZ, STFT_FRAMES_PER_VIDEO_FRAME, VIDEO_FPS
from preprocessing.types import PreparedClip, Progress, Waveform, no_progress

_DEFAULTS = EnhanceOptions()
TOLD_OFFSET_FRAMES = 1.5
"""Smaller offsets between picture and sound are mended without a warning."""
TOLD_DOUBT = 0.5
"""Less doubt than this is not told: the voice that was found is the louder part of the result."""
STFT_FRAMES_PER_S = STFT_FRAMES_PER_VIDEO_FRAME * VIDEO_FPS


@dataclass(frozen=True, slots=True)
class EnhancerConfig:
    """How an `Enhancer` works, beside its bundle.

    Attributes:
        pipeline: How files become arrays; the detector is chosen here.
        batch_windows: Windows in one forward pass; None: one on a CPU, eight on a GPU.
    """

    pipeline: PipelineConfig | None = None
    batch_windows: int | None = None


class Enhancer:
    """Takes the voice of a visible speaker out of a noisy clip.

    Args:
        bundle: Name, folder or open bundle.
        device: `auto`, `cpu` or `cuda[:N]`.
        detector: Name of the face detector.
        speaker: Who chooses the face; None takes the lips/sound network that ships.
        config: The rest.

    Raises:
        ModelError: The bundle or the device cannot be used.

    Example:
        >>> from avse import Enhancer  # doctest: +SKIP
        >>> enhanced = Enhancer().enhance_file("clip.mp4", "voice.wav")  # doctest: +SKIP
        >>> enhanced.report.path  # doctest: +SKIP
        'av'
    """

    def __init__(
        self,
        bundle: str | Path | Bundle = DEFAULT_BUNDLE,
        *,
        device: str = "auto",
        detector: str = "embedded",
        speaker: SpeakerChooser | None = None,
        config: EnhancerConfig = EnhancerConfig(),
    ) -> None:
        """Open the bundle and put its network on the device."""
        self.device = resolve_device(device)
        self.bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
        self.bundle.module.to(self.device).eval()
        self._pipeline = config.pipeline or PipelineConfig(detector=detector)
        self._batch_windows = config.batch_windows or default_batch_windows(self.device)
        self._speaker = speaker or LipSyncSpeaker(self.device)
        self._audio_only: Bundle | None = None

    def enhance_file(
        self,
        path: Path | str,
        out: Path | str | None = None,
        options: EnhanceOptions = _DEFAULTS,
        progress: Progress = no_progress,
    ) -> EnhancedClip | list[EnhancedClip]:
        """Enhance a media file and, if `out` is given, write the result.

        Args:
            path: Any container FFmpeg reads.
            out: `.wav .flac .mp3 .opus` for the voice, `.mp4 .mkv .webm` for the picture with the
                voice; with `face="all"` and several faces each name gets the track's number.
            options: The user's choices.
            progress: Called as `(stage, done, total)`.

        Returns:
            The result; a list of them, one for each face, with `face="all"`.

        Raises:
            MediaError: The file cannot be read, the face is not there or `out` not writable.
        """
        results = self._run_file(Path(path), None if out is None else Path(out), options, progress)
        return results if options.face == "all" else results[0]

    def enhance_all_faces(
        self,
        path: Path | str,
        options: EnhanceOptions = _DEFAULTS,
        progress: Progress = no_progress,
    ) -> list[EnhancedClip]:
        """One result for each visible speaker of a file; one by sound alone if there is none.

        Raises:
            MediaError: As in `enhance_file`.
        """
        return self._run_file(Path(path), None, replace(options, face="all"), progress)

    def enhance(
        self,
        prepared: PreparedClip,
        options: EnhanceOptions = _DEFAULTS,
        progress: Progress = no_progress,
    ) -> EnhancedClip:
        """Enhance a prepared clip.

        Raises:
            FaceNotFound: The face that was asked for is not there.
            ValueError: `face="all"` gives several results; see `enhance_all_faces`.
        """
        return self.enhance_batch([prepared], options, progress)[0]

    def enhance_batch(
        self,
        prepared: Sequence[PreparedClip],
        options: EnhanceOptions = _DEFAULTS,
        progress: Progress = no_progress,
    ) -> list[EnhancedClip]:
        """Enhance prepared clips; windows of equal length share forward passes across clips.

        Raises:
            FaceNotFound: The face that was asked for is not there in one of them.
            ValueError: `face="all"`, where the results could not be told apart.
        """
        if options.face == "all":
            raise ValueError('face: expected one face for each clip, found "all"')
        targets = [self.targets(clip, options)[0] for clip in prepared]
        return self.enhance_targets(targets, options, progress)

    def pipeline_for(self, options: EnhanceOptions) -> PipelineConfig:
        """How `prepare` reads a clip for these options, wherever it is called."""
        ignores_video = options.mode == "audio_only" or not self.bundle.module.sees
        return replace(self._pipeline, audio_track=options.audio_track, ignores_video=ignores_video)

    def _run_file(
        self, path: Path, out: Path | None, options: EnhanceOptions, progress: Progress
    ) -> list[EnhancedClip]:
        if out is not None:
            check_writable(out)
        prepared = prepare(path, self.pipeline_for(options), progress)
        results = self.enhance_targets(self.targets(prepared, options), options, progress)
        if out is None:
            return results
        is_many = len(results) > 1
        return [
            write_result(result, path, numbered(out, result) if is_many else out, progress)
            for result in results
        ]

    def targets(self, prepared: PreparedClip, options: EnhanceOptions) -> list[Target]:
        """Whom to listen to, the seconds of the choice put down in the clip's stages.

        Raises:
            FaceNotFound: The face that was asked for is not there.
            BundleInvalid: Lips are insisted on, but the network has no eyes.
        """
        start = time.perf_counter()
        if not self.bundle.module.sees:
            if options.mode == "av":
                raise BundleInvalid(f"{self.bundle.label}: mode av needs a network that sees lips")
            options = replace(options, mode="audio_only")
        targets = choose_targets(prepared, options, self.bundle.settings, self._speaker)
        spent = {**prepared.stage_s, "speaker": time.perf_counter() - start}
        timed = replace(prepared, stage_s=spent)
        return [replace(target, prepared=timed) for target in targets]

    def enhance_targets(
        self,
        targets: Sequence[Target],
        options: EnhanceOptions = _DEFAULTS,
        progress: Progress = no_progress,
    ) -> list[EnhancedClip]:
        """Enhance what `targets` chose, of any number of clips, together.

        Returns:
            Results in the order of the targets. Where no mouth is visible for long, and in clips
            without any, another network may work, see `EnhancementSettings.audio_only_bundle`.

        Raises:
            BundleNotFound: The bundle names another for such clips that is not there.
        """
        hears = [i for i, t in enumerate(targets) if needs_sound_alone(t.mouth)]
        other = self._sound_alone() if hears else None
        sees = [i for i, t in enumerate(targets) if other is None or t.mouth is not None]
        jobs = [Job(targets[i].prepared.audio.samples, targets[i].mouth) for i in sees]
        blind = [Job(targets[i].prepared.audio.samples, None) for i in hears]
        n_blind = n_windows(other, blind) if other else 0
        first, second = in_turn(progress, n_windows(self.bundle, jobs), n_blind)
        seen = dict(zip(sees, self._clean(self.bundle, jobs, options, first), strict=True))
        by_sound = self._clean(other, blind, options, second) if other else []
        heard = dict(zip(hears, by_sound, strict=False))
        return [
            self._finish(target, Parts(seen.get(index), heard.get(index), other), options)
            for index, target in enumerate(targets)
        ]

    def _sound_alone(self) -> Bundle | None:
        """The network for what no mouth tells, opened when first needed; None: the same one.

        Raises:
            BundleNotFound: The bundle names one that is not there.
        """
        name = self.bundle.settings.audio_only_bundle
        if name is not None and self._audio_only is None:
            self._audio_only = load_bundle(name)
            self._audio_only.module.to(self.device).eval()
        return self._audio_only

    def _clean(
        self, bundle: Bundle, jobs: Sequence[Job], options: EnhanceOptions, progress: Progress
    ) -> list[tuple[Cleaned, float]]:
        """What a network makes of each job, and the seconds of work by second of sound."""
        start = time.perf_counter()
        config = RunConfig(self.device, self._batch_windows, options.strength, options.keep_mask)
        cleaned = clean(bundle, jobs, config, progress)
        total_s = sum(len(job.samples) for job in jobs) / SAMPLE_RATE_HZ or 1.0
        share = (time.perf_counter() - start) / total_s
        return [(sound, share) for sound in cleaned]

    def _finish(self, target: Target, work: Parts, options: EnhanceOptions) -> EnhancedClip:
        """Sound, mask and report of one target."""
        audio = target.prepared.audio
        start = time.perf_counter()
        sound = work.result(target.mouth)
        waveform = Waveform(sound.samples, SAMPLE_RATE_HZ, audio.start_s)
        if options.output_rate == "input":
            waveform = _at_input_rate(target, waveform, sound, options)
        stages = {**target.prepared.stage_s, "infer": work.infer_share * audio.duration_s}
        stages["resample"] = time.perf_counter() - start
        doubtful = spans_s(sound.doubt >= TOLD_DOUBT, STFT_FRAMES_PER_S, audio.duration_s)
        report = self._report(work, target, stages, doubtful)
        if waveform.sample_rate_hz > SAMPLE_RATE_HZ:
            report = replace(report, high_band=PASSED)
        mask = None if sound.mask is None else Mask(sound.mask)
        return EnhancedClip(waveform, mask, report, target.mouth)

    def _report(
        self, work: Parts, target: Target, stage_s: dict[str, float], doubtful: Spans
    ) -> EnhanceReport:
        prepared, mouth = target.prepared, target.mouth
        duration_s = prepared.audio.duration_s
        face_s = 0.0 if mouth is None else float(mouth.is_visible.sum()) / VIDEO_FPS
        return EnhanceReport(
            bundle=self.bundle.label,
            audio_only_bundle=work.label,
            device=str(self.device),
            target_track_id=target.track_id,
            n_tracks=len(prepared.tracks),
            duration_s=duration_s,
            face_s=min(face_s, duration_s),
            path=target.path,
            reason=target.reason,
            audio_only_spans_s=audio_only_spans_s(mouth, duration_s),
            doubtful_spans_s=doubtful,
            speaking_score=target.score,
            target_choice=target.why,
            sync_offset_ms=round(1000.0 * target.offset_frames / VIDEO_FPS, 1),
            warnings=(*self._warnings(target), *_doubts(doubtful)),
            stage_s=stage_s,
            real_time_factor=duration_s / max(sum(stage_s.values()), 1e-9),
        )

    def _warnings(self, target: Target) -> tuple[str, ...]:
        prepared = target.prepared
        found = [*prepared.source.warnings]
        if prepared.n_damaged:
            found.append(f"{prepared.n_damaged} damaged picture packets were skipped")
        if prepared.still_s:
            found.append(
                f"the picture stands still for {prepared.still_s:.1f} s: sound alone there"
            )
        turned_s, obscured_s = _unread_s(target)
        if turned_s:
            found.append(f"the head is turned away for {turned_s:.1f} s: sound alone there")
        if obscured_s:
            found.append(
                f"the mouth is covered or in the dark for {obscured_s:.1f} s: sound alone there"
            )
        if abs(target.offset_frames) >= TOLD_OFFSET_FRAMES:
            ms = round(1000 * abs(target.offset_frames) / VIDEO_FPS)
            side = "after" if target.offset_frames > 0 else "before"
            found.append(f"the picture comes {ms} ms {side} the sound; mended for the network only")
        if not self.bundle.module.sees:
            found.append(f"{self.bundle.label} goes by sound alone")
        return tuple(found)


def _doubts(doubtful: Spans) -> tuple[str, ...]:
    """The warning of stretches in which every voice was kept, if there are any."""
    seconds = sum(last - first for first, last in doubtful)
    told = f"what is heard hardly moves with the lips for {seconds:.1f} s: every voice kept there"
    return (told,) if doubtful else ()


def _unread_s(target: Target) -> tuple[float, float]:
    """Seconds of a head turned away, and of a mouth covered; where nobody is read, the longest."""
    own = target.mouth
    mouths = list(target.prepared.mouths.values()) if own is None else [own]
    return (
        max((mouth.turned_s for mouth in mouths), default=0.0),
        max((mouth.obscured_s for mouth in mouths), default=0.0),
    )


def _at_input_rate(
    target: Target, enhanced: Waveform, sound: Cleaned, options: EnhanceOptions
) -> Waveform:
    """The result at the source's own rate."""
    source = target.prepared.source
    native = read_audio(source.path, native=True, audio_track=options.audio_track)
    return at_input_rate(native, enhanced, sound.top_gain)
