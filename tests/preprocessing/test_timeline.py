"""Sample, hop and frame arithmetic."""

import pytest

from preprocessing import timeline


def test_rates_divide_exactly() -> None:
    assert timeline.HOP_SAMPLES == 160
    assert timeline.WINDOW_SAMPLES == 640
    assert timeline.SAMPLES_PER_VIDEO_FRAME == 640
    assert timeline.STFT_FRAMES_PER_VIDEO_FRAME == 4
    with pytest.raises(ValueError, match="multiple of 7"):
        timeline.exact_div(16_000, 7)


@pytest.mark.parametrize(
    ("n_samples", "n_pictures"), [(0, 0), (1, 1), (640, 1), (641, 2), (16_000, 25), (15_999, 25)]
)
def test_four_stft_frames_for_each_picture(n_samples: int, n_pictures: int) -> None:
    assert timeline.n_video_frames(n_samples) == n_pictures
    assert timeline.n_stft_frames(n_samples) == 4 * n_pictures


def test_a_picture_stands_at_the_middle_of_its_interval() -> None:
    assert timeline.video_frame_time_s(0) == 0.02
    assert timeline.video_frame_time_s(25, start_s=1.5) == pytest.approx(2.52)
