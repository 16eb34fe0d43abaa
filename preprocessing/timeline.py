"""All arithmetic between samples, STFT frames and video frames; nobody else divides rates."""

SAMPLE_RATE_HZ = 16_000
VIDEO_FPS = 25
HOP_MS = 10
WINDOW_MS = 40


def exact_div(numerator: int, denominator: int) -> int:
    """Divide without a remainder.

    Raises:
        ValueError: The division leaves a remainder.
    """
    if numerator % denominator:
        raise ValueError(f"expected {numerator} to be a multiple of {denominator}")
    return numerator // denominator


HOP_SAMPLES = exact_div(SAMPLE_RATE_HZ * HOP_MS, 1000)
WINDOW_SAMPLES = exact_div(SAMPLE_RATE_HZ * WINDOW_MS, 1000)
SAMPLES_PER_VIDEO_FRAME = exact_div(SAMPLE_RATE_HZ, VIDEO_FPS)
STFT_FRAMES_PER_VIDEO_FRAME = exact_div(SAMPLES_PER_VIDEO_FRAME, HOP_SAMPLES)


def n_video_frames(n_samples: int) -> int:
    """Video frames that cover a sound: the last one may be partly beyond its end."""
    return -(-n_samples // SAMPLES_PER_VIDEO_FRAME)


def n_stft_frames(n_samples: int) -> int:
    """STFT frames of a padded sound: exactly four for each video frame.

    STFT frame t is centred on sample `(t + 0.5) * hop`, so four of them tile one video frame and
    there is no extra edge frame.
    """
    return n_video_frames(n_samples) * STFT_FRAMES_PER_VIDEO_FRAME


def video_frame_time_s(index: int, start_s: float = 0.0) -> float:
    """Centre of a video frame's interval on the clip's clock, seconds."""
    return start_s + (index + 0.5) / VIDEO_FPS
