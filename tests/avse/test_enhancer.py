"""The enhancer with tiny networks: length, start, sync, paths, report, rates, files."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soxr
import torch
from torch import Tensor, nn

from avse.bundle import Bundle, ChunkSettings, EnhancementSettings
from avse.enhancer import Enhancer, EnhancerConfig
from avse.highband import at_input_rate
from avse.inference import in_time
from avse.output import check_writable
from avse.types import EnhancedClip, EnhanceOptions, Mask
from models.agreement import Heard
from models.errors import BundleInvalid
from models.weights import BundleSpec
from preprocessing.errors import FaceNotFound, OutputError
from preprocessing.media import read_audio, write_audio
from preprocessing.spectral import istft, stft
from preprocessing.timeline import n_video_frames
from preprocessing.types import FaceTrack, MouthTrack, PreparedClip, SourceInfo, Waveform


class FakeNet(nn.Module):
    """A mask of one value, or the brightness of each visible mouth (0.5 where hidden)."""

    def __init__(self, value: float | None = None, sees: bool = True, doubt: float = 0.0) -> None:
        super().__init__()
        self.value, self.sees, self.doubt = value, sees, doubt
        self.n_encoded = 0
        self.calls: list[tuple[int, int]] = []
        self.levels: list[float] = []

    def encode_visual(self, crops: Tensor) -> list[Tensor]:
        if not self.sees:
            return []
        assert crops.shape[2:] == (112, 112)
        self.n_encoded += crops.shape[1]
        return [crops.float().mean((2, 3)).unsqueeze(2) / 255]

    def hear(self, mel: Tensor, spectrum: Tensor, visual: list[Tensor], seen: Tensor) -> Heard:
        mask = self._mask(mel, spectrum.abs(), visual, seen)
        return Heard(mask, torch.full((len(mask),), self.doubt))

    def _mask(self, mel: Tensor, magnitude: Tensor, visual: list[Tensor], seen: Tensor) -> Tensor:
        assert mel.shape == (*magnitude.shape[:2], 80)
        self.calls.append((magnitude.shape[0], magnitude.shape[1]))
        self.levels.append(float(magnitude.max()))
        if self.value is not None:
            return torch.full_like(magnitude, self.value)
        grey = torch.where(seen, visual[0][..., 0], 0.5)
        return grey.repeat_interleave(4, 1).unsqueeze(2).expand_as(magnitude)


class TurningNet(FakeNet):
    """A mask of one value that also turns every phase by a quarter."""

    def hear(self, mel: Tensor, spectrum: Tensor, visual: list[Tensor], seen: Tensor) -> Heard:
        heard = super().hear(mel, spectrum, visual, seen)
        return Heard(1j * heard.mask, heard.doubt)


@dataclass(frozen=True)
class FakeChoice:
    track_id: int
    score: float | None = 0.7
    offset_frames: int = 0
    why: str = "asked for"


class FakeSpeaker:
    def __init__(self, *choices: FakeChoice) -> None:
        self.choices = choices

    def choose(self, prepared: PreparedClip, face: str) -> list[FakeChoice]:
        followed = [track.track_id for track in prepared.tracks]
        chosen = [c for c in self.choices if face in ("all", "auto", str(c.track_id))]
        return [choice for choice in chosen if choice.track_id in followed]

    def shift(self, mouth: MouthTrack, offset_frames: int) -> MouthTrack:
        crops = np.roll(mouth.crops, -offset_frames, axis=0)
        is_visible = mouth.is_visible.copy()
        crops[-offset_frames:], is_visible[-offset_frames:] = 0, False
        return replace(mouth, crops=crops, is_visible=is_visible)


SMALL = EnhancementSettings(chunk=ChunkSettings(64, 48))


def bundle(net: nn.Module, settings: EnhancementSettings = SMALL) -> Bundle:
    spec = BundleSpec("fake", "enhancement", "avse_net", {}, {}, {}, sha256="0" * 64)
    return Bundle(spec, net, settings)  # type: ignore[arg-type]


def enhancer(net: nn.Module, *choices: FakeChoice, **options: object) -> Enhancer:
    settings = options.pop("settings", SMALL)
    config = EnhancerConfig(batch_windows=int(options.pop("batch_windows", 2)))
    speaker = FakeSpeaker(*(choices or (FakeChoice(1),)))
    return Enhancer(bundle(net, settings), device="cpu", speaker=speaker, config=config)


def noise(n_samples: int, rate_hz: int = 16_000, start_s: float = 0.0) -> Waveform:
    samples = np.random.default_rng(0).normal(0, 0.1, n_samples).astype(np.float32)
    return Waveform(samples, rate_hz, start_s)


def mouth_of(n_pictures: int, grey: int = 255, hidden: slice = slice(0, 0)) -> MouthTrack:
    crops = np.full((n_pictures, 122, 122), grey, np.uint8)
    is_visible = np.ones(n_pictures, bool)
    crops[hidden], is_visible[hidden] = 0, False
    return MouthTrack(crops, is_visible, 0.0, np.full((n_pictures, 20, 2), np.nan, np.float32))


def track(track_id: int, width_px: float = 100.0) -> FaceTrack:
    box = np.array([[0, 0, width_px, width_px]], np.float32)
    return FaceTrack(track_id, np.arange(1), np.zeros(1), box, np.ones(1, np.float32))


def prepared(
    audio: Waveform, mouths: dict[int, MouthTrack] | None = None, **changes: object
) -> PreparedClip:
    fields: dict = {"has_video": True, "fps": 25.0, "path": Path("clip.mp4")} | changes
    width_px = fields.pop("width_px", 100.0)
    source = SourceInfo(
        container="mov", audio_rate_hz=48_000, n_audio_channels=1, n_audio_tracks=1, **fields
    )
    mouths = mouths or {}
    tracks = tuple(track(number, width_px) for number in mouths)
    return PreparedClip(audio, tracks, mouths, source, stage_s={"decode": 0.5})


def lag_samples(a: np.ndarray, b: np.ndarray) -> int:
    n_fft = 2 ** (2 * len(a)).bit_length()
    spectrum = np.fft.rfft(a, n_fft) * np.conj(np.fft.rfft(b, n_fft))
    lag = int(np.fft.irfft(spectrum).argmax())
    return lag if lag < n_fft // 2 else lag - n_fft


@pytest.mark.parametrize("n_samples", [640, 5_000, 40 * 640, 52_345])
def test_a_mask_of_ones_gives_the_input_back(n_samples: int) -> None:
    audio = noise(n_samples, start_s=1.25)
    clip = prepared(audio, {1: mouth_of(n_video_frames(n_samples))})
    enhanced = enhancer(FakeNet(1.0)).enhance(clip)
    np.testing.assert_allclose(enhanced.waveform.samples, audio.samples, atol=1e-5)
    assert (enhanced.waveform.start_s, enhanced.waveform.sample_rate_hz) == (1.25, 16_000)
    assert enhanced.mask is not None
    assert enhanced.mask.values.shape == (321, 4 * n_video_frames(n_samples))


def test_strength_mixes_with_the_input() -> None:
    audio = noise(20_000)
    clip = prepared(audio, {1: mouth_of(32)})
    for strength, share in ((1.0, 0.2), (0.5, 0.6), (0.0, 1.0)):
        enhanced = enhancer(FakeNet(0.2)).enhance(clip, EnhanceOptions(strength=strength))
        np.testing.assert_allclose(enhanced.waveform.samples, share * audio.samples, atol=1e-5)
        assert enhanced.mask is not None
        assert np.allclose(enhanced.mask.values, 0.2, atol=1e-3)


def test_a_complex_mask_turns_the_sound_and_is_told_by_its_magnitude() -> None:
    clip = prepared(noise(52_345), {1: mouth_of(82)})
    net = TurningNet(0.5, doubt=0.25)
    whole = enhancer(net).enhance(clip)
    half = enhancer(net).enhance(clip, EnhanceOptions(strength=0.5))
    sound = torch.from_numpy(clip.audio.samples)
    for found, factor in ((whole, 0.5j), (half, 0.5 + 0.25j)):
        wanted = istft(factor * stft(sound), len(sound)).numpy()
        np.testing.assert_allclose(found.waveform.samples, wanted, atol=1e-5)
        assert found.mask is not None
        np.testing.assert_allclose(found.mask.values, 0.5, atol=1e-3)
    assert whole.report.doubtful_spans_s == ()


def test_silence_stays_silence() -> None:
    audio = Waveform(np.zeros(30_000, np.float32), 16_000)
    enhanced = enhancer(FakeNet()).enhance(prepared(audio, {1: mouth_of(47)}))
    assert (enhanced.waveform.samples == 0).all()


def test_lips_steer_the_sound_second_by_second() -> None:
    audio = noise(64_000)
    mouth = mouth_of(100, hidden=slice(40, 70))
    enhanced = enhancer(FakeNet()).enhance(prepared(audio, {1: mouth}))
    ratio = enhanced.waveform.samples / audio.samples
    np.testing.assert_allclose(ratio[: 38 * 640], 1.0, atol=1e-2)
    np.testing.assert_allclose(np.median(ratio[42 * 640 : 68 * 640]), 0.5, atol=1e-2)
    report = enhanced.report
    assert (report.path, report.reason) == ("mixed", "face_lost")
    assert report.audio_only_spans_s == ((1.6, 2.8),)
    assert report.face_s == pytest.approx(2.8)
    assert report.target_track_id == 1
    assert (report.speaking_score, report.target_choice) == (0.7, "asked for")


def test_each_picture_is_encoded_about_once_and_hidden_ones_never() -> None:
    net = FakeNet()
    audio = noise(400 * 640)
    enhancer(net).enhance(prepared(audio, {1: mouth_of(400, hidden=slice(100, 400))}))
    assert 100 < net.n_encoded < 150
    net = FakeNet()
    enhancer(net).enhance(prepared(audio, has_video=False))
    assert net.n_encoded == 1


def test_a_missing_moment_at_the_ends_is_still_av() -> None:
    clip = prepared(noise(64_000), {1: mouth_of(100, hidden=slice(97, 100))})
    report = enhancer(FakeNet()).enhance(clip).report
    assert (report.path, report.reason) == ("av", None)
    assert report.audio_only_spans_s == ((3.88, 4.0),)


@pytest.mark.parametrize(
    ("mouths", "changes", "reason"),
    [
        ({}, {"has_video": False}, "no_video"),
        ({}, {}, "no_face"),
        ({1: mouth_of(50)}, {"width_px": 10.0}, "face_too_small"),
        ({1: mouth_of(50, hidden=slice(0, 50))}, {}, "face_lost"),
        ({1: mouth_of(50)}, {"fps": 5.0}, "low_fps"),
    ],
)
def test_missing_sight_is_sound_alone_with_its_reason(
    mouths: dict[int, MouthTrack], changes: dict, reason: str
) -> None:
    clip = prepared(noise(32_000), mouths, **changes)
    worker = enhancer(FakeNet())
    enhanced = worker.enhance(clip)
    assert (enhanced.report.path, enhanced.report.reason) == ("audio_only", reason)
    assert enhanced.report.audio_only_spans_s == ((0.0, 2.0),)
    assert enhanced.mouth is None
    assert enhanced.report.face_s == 0
    with pytest.raises(FaceNotFound, match="visible mouth"):
        worker.enhance(clip, EnhanceOptions(mode="av"))


def test_sound_alone_on_request_and_with_a_net_that_is_blind() -> None:
    clip = prepared(noise(32_000), {1: mouth_of(50)})
    report = enhancer(FakeNet()).enhance(clip, EnhanceOptions(mode="audio_only")).report
    assert (report.path, report.reason) == ("audio_only", "asked")
    blind = enhancer(FakeNet(0.5, sees=False))
    report = blind.enhance(clip).report
    assert report.path == "audio_only"
    assert any("sound alone" in warning for warning in report.warnings)
    with pytest.raises(BundleInvalid, match="sees lips"):
        blind.enhance(clip, EnhanceOptions(mode="av"))


def test_clips_without_a_mouth_may_have_a_net_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = replace(SMALL, audio_only_bundle="deaf")
    other = bundle(FakeNet(0.0, sees=False))
    other = replace(other, spec=replace(other.spec, name="deaf"))
    monkeypatch.setattr("avse.enhancer.load_bundle", lambda name: {"deaf": other}[name])
    worker = enhancer(FakeNet(1.0), settings=settings)
    clips = [
        prepared(noise(32_000), {1: mouth_of(50)}),
        prepared(noise(16_000), has_video=False),
        prepared(noise(32_000), {1: mouth_of(50)}),
    ]
    told: list[tuple[int, int]] = []
    enhanced = worker.enhance_batch(clips, progress=lambda _, *counts: told.append(counts))
    assert [total for _, total in told] == [10] * len(told)  # windows of both networks, once
    assert [done for done, _ in told] == [2, 4, 6, 8, 10]
    others = [clip.report.audio_only_bundle for clip in enhanced]
    assert [other and other[:4] for other in others] == [None, "deaf", None]
    assert {clip.report.bundle[:4] for clip in enhanced} == {"fake"}
    assert [float(np.abs(e.waveform.samples).max()) > 0 for e in enhanced] == [True, False, True]


def test_a_batch_gives_what_single_runs_give() -> None:
    lengths = [32_000, 64_000, 32_000, 640, 20_000]
    clips = [
        prepared(noise(n), {1: mouth_of(n_video_frames(n), 40 * i)}) for i, n in enumerate(lengths)
    ]
    net = FakeNet()
    together = enhancer(net, batch_windows=4).enhance_batch(clips)
    assert max(n_batch for n_batch, _ in net.calls) == 4
    for clip, result in zip(clips, together, strict=True):
        alone = enhancer(FakeNet()).enhance(clip)
        np.testing.assert_allclose(result.waveform.samples, alone.waveform.samples, atol=1e-6)
        assert result.report.duration_s == clip.audio.duration_s


def test_the_network_hears_one_level_whatever_the_clip_has() -> None:
    levels = []
    for gain in (1.0, 0.01):
        net = FakeNet(1.0)
        audio = Waveform(noise(16_000).samples * np.float32(gain), 16_000)
        enhancer(net).enhance(prepared(audio, {1: mouth_of(25)}))
        levels.append(net.levels[0])
    assert levels[0] == pytest.approx(levels[1], rel=1e-3)


def test_late_pictures_are_mended_for_the_network_only() -> None:
    mouth = mouth_of(100, 0)
    mouth.crops[53:] = 255  # bright three pictures after the sound's second picture 50
    worker = enhancer(FakeNet(), FakeChoice(1, offset_frames=3))
    audio = noise(64_000)
    enhanced = worker.enhance(prepared(audio, {1: mouth}))
    ratio = enhanced.waveform.samples / audio.samples
    assert np.abs(ratio[: 49 * 640]).max() < 0.05
    assert np.median(ratio[51 * 640 : 90 * 640]) == pytest.approx(1.0, abs=0.02)
    assert enhanced.report.sync_offset_ms == 120.0
    assert any("120 ms after" in warning for warning in enhanced.report.warnings)
    assert lag_samples(enhanced.waveform.samples[51 * 640 :], audio.samples[51 * 640 :]) == 0


def test_part_of_a_frame_mixes_the_features_of_visible_neighbours() -> None:
    features = torch.arange(6.0)[:, None] * torch.tensor([1.0, 10.0])
    shown = torch.tensor([True, True, True, False, True, True])
    assert in_time(features, shown, 0.0) is features
    assert in_time(features, shown, 0.25)[:, 0].tolist() == [0.25, 1.25, 2, 3, 4.25, 5]
    assert in_time(features, shown, -0.5)[:, 1].tolist() == [0, 5, 15, 30, 40, 45]


def test_a_lag_of_part_of_a_frame_is_the_same_in_windows_as_at_once() -> None:
    mouth = replace(mouth_of(400), lag_frames=0.5)
    mouth.crops[::2] = 0
    audio = noise(400 * 640)
    sounds = [
        enhancer(FakeNet(), settings=EnhancementSettings(chunk=ChunkSettings(*chunk)))
        .enhance(prepared(audio, {1: mouth}))
        .waveform.samples
        for chunk in ((1600, 1600), (64, 48))
    ]
    np.testing.assert_allclose(sounds[0], sounds[1], atol=1e-3)
    np.testing.assert_allclose(np.median(sounds[0][640:-640] / audio.samples[640:-640]), 0.5)


def test_several_faces_are_not_one_result() -> None:
    with pytest.raises(ValueError, match="all"):
        enhancer(FakeNet()).enhance(prepared(noise(640)), EnhanceOptions(face="all"))


@pytest.mark.parametrize(("rate_hz", "n_samples"), [(48_000, 100_001), (44_100, 250_000)])
def test_the_high_band_passes_in_step_at_the_input_rate(
    rate_hz: int, n_samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avse.highband.BLOCK_S", 2)
    native = noise(n_samples, rate_hz, start_s=0.4)
    low = np.asarray(soxr.resample(native.samples, rate_hz, 16_000), np.float32)
    enhanced = Waveform(low, 16_000, 0.4)
    same = at_input_rate(native, enhanced, np.ones(len(low) // 160, np.float32))
    assert (same.n_samples, same.start_s) == (n_samples, 0.4)
    inner = slice(2_000, -2_000)
    np.testing.assert_allclose(same.samples[inner], native.samples[inner], atol=5e-3)
    assert lag_samples(same.samples, native.samples) == 0
    muted = at_input_rate(native, enhanced, np.zeros(len(low) // 160, np.float32))
    spectrum = np.abs(np.fft.rfft(muted.samples))
    edge = int(8_300 / (rate_hz / 2) * len(spectrum))
    assert spectrum[edge:].max() < 0.02 * spectrum[: edge // 2].max()
    with pytest.raises(ValueError, match="apart"):
        at_input_rate(native, replace(enhanced, start_s=0.0), np.ones(10, np.float32))


def test_a_low_input_rate_has_no_high_band() -> None:
    native = noise(8_000, 8_000)
    low = np.asarray(soxr.resample(native.samples, 8_000, 16_000), np.float32)
    back = at_input_rate(native, Waveform(low, 16_000), np.zeros(100, np.float32))
    assert back.n_samples == 8_000
    assert np.corrcoef(back.samples[100:-100], native.samples[100:-100])[0, 1] > 0.95


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_sound_file_in_a_sound_file_out(tmp_path: Path, suffix: str) -> None:
    source, out = tmp_path / "in.wav", tmp_path / f"out{suffix}"
    write_audio(source, noise(48_123, 48_000))
    seen: list[str] = []
    worker = enhancer(FakeNet(1.0))
    enhanced = worker.enhance_file(
        source,
        out,
        EnhanceOptions(output_rate="input", keep_mask=False),
        lambda stage, done, total: seen.append(stage),
    )
    assert isinstance(enhanced, EnhancedClip)
    assert enhanced.mask is None
    written, native = read_audio(out, native=True), read_audio(source, native=True)
    assert (written.n_samples, written.sample_rate_hz) == (48_123, 48_000)
    assert lag_samples(written.samples, native.samples) == 0
    assert "infer" in seen
    report = json.loads(enhanced.report.to_json())
    assert (report["path"], report["reason"]) == ("audio_only", "no_video")
    assert "8 kHz" in report["high_band"]
    assert set(report["stage_s"]) >= {"audio", "speaker", "infer", "encode"}
    assert report["real_time_factor"] > 0
    many = worker.enhance_all_faces(source)
    assert [clip.waveform.n_samples for clip in many] == [16_041]


def test_what_cannot_be_written_is_refused_before_work(tmp_path: Path) -> None:
    (tmp_path / "folder.wav").mkdir()
    for name in ("out.txt", "nowhere/out.wav", "folder.wav"):
        with pytest.raises(OutputError):
            check_writable(tmp_path / name)
    with pytest.raises(OutputError):
        enhancer(FakeNet()).enhance_file(tmp_path / "missing.mp4", tmp_path / "out.txt")


@pytest.mark.parametrize(
    "wrong",
    [{"mode": "loud"}, {"strength": 1.5}, {"output_rate": 8_000}, {"audio_track": -1}],
)
def test_options_outside_their_range_are_named(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EnhanceOptions(**wrong)


def test_a_mask_is_two_dimensional_and_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match=r"Mask\.values"):
        Mask(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="expected 50 pictures"):
        enhancer(FakeNet()).enhance(prepared(noise(32_000), {1: mouth_of(49)}))


@pytest.mark.parametrize("n_unread", [10, 50])
@pytest.mark.parametrize(
    ("why", "words"), [("is_turned", "turned away"), ("is_obscured", "covered or in the dark")]
)
def test_a_mouth_that_cannot_be_read_is_told(n_unread: int, why: str, words: str) -> None:
    mouth = mouth_of(50, hidden=slice(0, n_unread))
    mouth = replace(mouth, **{why: ~mouth.is_visible})
    report = enhancer(FakeNet(1.0)).enhance(prepared(noise(50 * 640), {1: mouth})).report
    assert report.path == ("mixed" if n_unread < 50 else "audio_only")
    assert [w for w in report.warnings if f"{words} for {n_unread / 25:.1f} s" in w]


def test_stretches_that_the_network_doubts_are_told() -> None:
    clip = prepared(noise(32_000), {1: mouth_of(50)})
    report = enhancer(FakeNet(doubt=0.7)).enhance(clip).report
    assert report.doubtful_spans_s == ((0.0, 2.0),)
    told = "what is heard hardly moves with the lips for 2.0 s: every voice kept there"
    assert told in report.warnings
    assert json.loads(report.to_json())["doubtful_spans_s"] == [[0.0, 2.0]]
    quiet = enhancer(FakeNet(doubt=0.3)).enhance(clip).report
    assert quiet.doubtful_spans_s == ()
    assert quiet.warnings == ()
