import cv2
import numpy as np
import pytest

from avse.contact_sheet import COLOURS, draw_tile, sheet_times_s, write_contact_sheet
from avse.plots import log_spectrogram, plot_enhancement, write_file
from avse.types import EnhancedClip, EnhanceReport, Mask
from preprocessing.errors import OutputError
from preprocessing.types import FaceTrack, Frame, MouthTrack, Waveform


def tone(frequency_hz: float, duration_s: float = 2.0, rate_hz: int = 16_000) -> Waveform:
    times_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    return Waveform(0.5 * np.sin(2 * np.pi * frequency_hz * times_s).astype(np.float32), rate_hz)


def mouth(n_frames: int) -> MouthTrack:
    crops = np.full((n_frames, 122, 122), 120, np.uint8)
    is_visible = np.arange(n_frames) >= n_frames // 2
    return MouthTrack(crops, is_visible, 0.0, np.zeros((n_frames, 20, 2), np.float32))


def enhanced(sound: Waveform, has_sight: bool = True) -> EnhancedClip:
    report = EnhanceReport("b@1", "cpu", 1, 1, sound.duration_s, 1.0, "mixed", "face_lost")
    mask = Mask(np.full((321, round(100 * sound.duration_s)), 0.5, np.float16))
    n_frames = round(25 * sound.duration_s)
    return EnhancedClip(
        sound, mask if has_sight else None, report, mouth(n_frames) if has_sight else None
    )


def test_plot_is_a_picture_and_leaves_nothing_else(tmp_path) -> None:
    sound = tone(1000.0)
    plot_enhancement(sound, enhanced(sound), tmp_path / "p.png")
    picture = cv2.imread(str(tmp_path / "p.png"))
    assert picture is not None
    assert picture.shape[1] == 1100
    assert picture.std() > 20
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]


def test_plot_takes_another_rate_and_a_late_start(tmp_path) -> None:
    late = Waveform(tone(500.0, rate_hz=48_000).samples, 48_000, start_s=3.0)
    plot_enhancement(tone(500.0), enhanced(late, False), tmp_path / "p.png", title="late")
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_level_of_a_tone_is_where_the_tone_is() -> None:
    levels, step_s = log_spectrogram(tone(1000.0))
    assert step_s == pytest.approx(0.01)
    column = levels[:, 100]
    assert int(column.argmax()) == 40  # 1000 Hz at 25 Hz a bin
    assert column.max() == pytest.approx(20 * np.log10(0.5), abs=0.3)


def test_long_sounds_are_thinned_out() -> None:
    levels, step_s = log_spectrogram(tone(100.0, duration_s=300.0))
    assert levels.shape[1] <= 2000
    assert levels.shape[1] * step_s == pytest.approx(300.0, abs=0.2)


def test_unwritable_picture_says_so_and_leaves_nothing(tmp_path) -> None:
    with pytest.raises(OutputError, match="can be written"):
        write_file(tmp_path / "no" / "p.png", b"x")
    assert list(tmp_path.iterdir()) == []


class GreyVideo:
    size_px = (640, 360)
    n_damaged = 0
    duration_s = 4.0

    def __init__(self, n_frames: int) -> None:
        self.n_frames = n_frames

    def __iter__(self):
        for index in range(self.n_frames):
            yield Frame(index, index / 25, np.full((360, 640, 3), 90, np.uint8))


def track(track_id: int, first: int, last: int) -> FaceTrack:
    indices = np.arange(first, last)
    boxes = np.tile(np.float32([100, 80, 260, 300]), (len(indices), 1))
    return FaceTrack(track_id, indices, indices / 25, boxes, np.ones(len(indices), np.float32))


def test_tile_shows_the_boxes_of_its_frame_only() -> None:
    frame = next(iter(GreyVideo(1)))
    with_box = draw_tile(frame, [track(2, 0, 10)])
    without = draw_tile(frame, [track(2, 5, 10)])
    colour = np.array(COLOURS[1])
    assert with_box.shape == (225 + 26, 400, 3)
    assert (with_box[50, 100] == colour).all()  # top edge at 80 * 400 / 640
    assert not (without[:225] == colour).all(axis=2).any()


def test_sheet_looks_at_every_track() -> None:
    times_s = sheet_times_s([track(1, 0, 100), track(2, 60, 63)], 4.0)
    assert len(times_s) == 12
    assert times_s == sorted(times_s)
    assert 61 / 25 in times_s


@pytest.mark.parametrize(("n_frames", "size"), [(100, (753, 1600)), (1, (251, 400))])
def test_sheet_is_written(tmp_path, n_frames, size) -> None:
    write_contact_sheet(GreyVideo(n_frames), [track(1, 0, n_frames)], tmp_path / "s.png")
    assert cv2.imread(str(tmp_path / "s.png")).shape[:2] == size


def test_sheet_without_pictures_says_so(tmp_path) -> None:
    with pytest.raises(OutputError, match="at least one picture"):
        write_contact_sheet(GreyVideo(0), [], tmp_path / "s.png")
