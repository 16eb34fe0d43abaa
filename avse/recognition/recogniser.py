"""The one way from a clip to gestures or actions; everything in the product goes through it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avse.device import default_batch_windows, resolve_device
from avse.recognition.bundle import HeadBundle, load_head
from avse.recognition.segments import merged, over_time, without_slivers
from avse.recognition.types import Recognition, RecognitionOptions
from preprocessing.stream_windows import Span, spans, whole, window_inputs
from preprocessing.streams import PreparedStreams, StreamSources, prepare_streams
from preprocessing.types import Progress, no_progress

_DEFAULTS = RecognitionOptions()
_PICTURES_ALONE = StreamSources()
MIN_WINDOW_PICTURES = 2


class Recogniser:
    """Tells gestures or actions apart, as its bundle was trained to.

    Args:
        bundle: Name, folder or open bundle.
        device: `auto`, `cpu` or `cuda[:N]`.
        batch_windows: Windows in one forward pass; None: one on a CPU, eight on a GPU.

    Raises:
        ModelError: The bundle or the device cannot be used.
    """

    def __init__(
        self,
        bundle: str | Path | HeadBundle,
        *,
        device: str = "auto",
        batch_windows: int | None = None,
    ) -> None:
        """Open the bundle and put its network on the device."""
        self.device = resolve_device(device)
        self.bundle = bundle if isinstance(bundle, HeadBundle) else load_head(bundle)
        self.bundle.module.to(self.device).eval()
        self._batch_windows = batch_windows or default_batch_windows(self.device)

    @property
    def labels(self) -> tuple[str, ...]:
        """What it tells apart."""
        return self.bundle.settings.labels

    def recognise_file(
        self,
        path: Path | str,
        options: RecognitionOptions = _DEFAULTS,
        sources: StreamSources = _PICTURES_ALONE,
        progress: Progress = no_progress,
    ) -> Recognition:
        """Segments of a media file.

        Args:
            path: Any file with pictures that FFmpeg reads.
            options: The user's choices.
            sources: A skeleton's file or a pose estimator, and what the pictures are.
            progress: Called as `(stage, done, total)`.

        Raises:
            MediaError: The file cannot be read, or nothing in it is what the head looks at.
        """
        return self.recognise(self.prepare(path, sources, progress), options, progress)

    def prepare(
        self,
        path: Path | str,
        sources: StreamSources = _PICTURES_ALONE,
        progress: Progress = no_progress,
    ) -> PreparedStreams:
        """The clip's streams, without the network.

        Raises:
            MediaError: As in `recognise_file`.
        """
        return prepare_streams(path, self.bundle.settings.prepare, sources, progress=progress)

    def recognise(
        self,
        prepared: PreparedStreams,
        options: RecognitionOptions = _DEFAULTS,
        progress: Progress = no_progress,
    ) -> Recognition:
        """Segments of prepared streams."""
        settings = self.bundle.settings
        windows = self._windows(prepared, options)
        probabilities = self.probabilities(prepared, windows, progress)
        scores = over_time(windows, probabilities, len(prepared.times_s))
        n_min = windows[1][0] // 2 if len(windows) > 1 else 1
        segments = merged(
            scores,
            without_slivers(scores, n_min),
            settings.labels,
            1.0 / settings.fps,
            prepared.duration_s,
            options,
        )
        return Recognition(
            self.bundle.spec.name, prepared.duration_s, prepared.streams, prepared.notes, segments
        )

    @torch.inference_mode()
    def probabilities(
        self,
        prepared: PreparedStreams,
        windows: Sequence[Span],
        progress: Progress = no_progress,
    ) -> NDArray[np.float32]:
        """`[W, K]` of windows, each given by its first picture and the one after its last."""
        found = []
        for first in range(0, len(windows), self._batch_windows):
            some = windows[first : first + self._batch_windows]
            progress("infer", first, len(windows))
            found.append(self._forward(prepared, some))
        progress("infer", len(windows), len(windows))
        return np.concatenate(found)

    def _forward(self, prepared: PreparedStreams, windows: Sequence[Span]) -> NDArray[np.float32]:
        config = self.bundle.settings.prepare
        inputs = [window_inputs(prepared, config, span) for span in windows]
        streams = {
            name: torch.from_numpy(np.stack([window[name] for window in inputs])).to(self.device)
            for name in prepared.arrays
        }
        scores = torch.softmax(self.bundle.module(streams).joint, 1)
        return np.asarray(scores.cpu().numpy(), np.float32)

    def _windows(self, prepared: PreparedStreams, options: RecognitionOptions) -> list[Span]:
        """The whole clip where it is short and nothing else is asked for, else windows over it."""
        settings = self.bundle.settings
        is_plain = options.window_s is None and options.stride_s is None
        if is_plain and prepared.duration_s <= settings.whole_s:
            return [whole(prepared)]
        window_s = options.window_s or settings.window_s
        own_stride_s = settings.stride_s if options.window_s is None else window_s / 4
        stride_s = options.stride_s or own_stride_s
        window = max(MIN_WINDOW_PICTURES, round(window_s * settings.fps))
        stride = min(window, max(1, round(stride_s * settings.fps)))
        return spans(len(prepared.times_s), window, stride)
