"""The real API process with a worker that only pretends: fast enough for tests of the page.

`python -m tests.web.stub_server --port 8000 --spool DIR [--key-file FILE]`, then open it in a
browser. What the worker does is told by the first bytes of the upload (see
`tests.server.fake_worker`): `SLOW 3`, `FAIL no_audio`, `WARN`; anything else is "enhanced".
"""

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import uvicorn

from preprocessing.media_write import write_audio
from preprocessing.types import Waveform
from server.job_types import Job
from server.main import create_app
from server.settings import Settings
from tests.server.fake_worker import FakeWorker

RATE_HZ = 16_000
DURATION_S = 3.0
REPORT = {
    "bundle": "stub@0", "device": "cpu", "target_track_id": 1, "n_tracks": 2,
    "duration_s": DURATION_S, "face_s": 2.9, "path": "av", "reason": None, "warnings": [],
    "stage_s": {"decode": 0.2, "network": 0.4}, "real_time_factor": 5.0,
}  # fmt: skip


class PageWorker(FakeWorker):
    """Gives sounds that can be told apart and pictures that can be looked at."""

    def _enhance(self, job: Job) -> tuple[dict[str, str], dict[str, Any]]:
        outputs = {
            "audio": "output.wav", "input_audio": "input_audio.wav",
            "mask": "mask.png", "report": "report.json",
        }  # fmt: skip
        voice = speech_like(np.random.default_rng(1))
        noise = np.random.default_rng(2).standard_normal(voice.size).astype(np.float32)
        self._write(job, outputs["audio"], voice)
        self._write(job, outputs["input_audio"], voice + 0.05 * noise)
        mask = np.linspace(0, 255, 200 * 400).reshape(200, 400).astype(np.uint8)
        self.spool.output_path(job.id, outputs["mask"]).write_bytes(encoded(".png", mask))
        self.spool.output_path(job.id, outputs["report"]).write_text(json.dumps(REPORT))
        return outputs, {"report": REPORT}

    def _write(self, job: Job, name: str, samples: np.ndarray) -> None:
        write_audio(self.spool.output_path(job.id, name), Waveform(samples, RATE_HZ))

    def _faces(self, job: Job) -> tuple[dict[str, str], dict[str, Any]]:
        tracks = []
        for number, (colour, speaking) in enumerate(
            [((90, 140, 210), 0.8), ((150, 170, 90), -0.2)]
        ):
            name = f"thumbs/{number}.jpg"
            path = self.spool.output_path(job.id, name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(encoded(".jpg", face_picture(colour)))
            tracks.append({
                "id": number + 1, "start": 0.0, "end": DURATION_S, "score": 0.98, "time": 1.0,
                "bbox": [100.0 + 200 * number, 80.0, 96.0, 128.0],
                "speaking_score": speaking, "thumbnail": name,
            })  # fmt: skip
        return {}, {"duration": DURATION_S, "tracks": tracks}


def speech_like(generator: np.random.Generator) -> np.ndarray:
    """Bursts of harmonics: `[48000]` float32."""
    time_s = np.arange(int(DURATION_S * RATE_HZ)) / RATE_HZ
    pitch_hz = 150 + 40 * np.sin(2 * np.pi * 0.7 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    sound = sum(np.sin(k * phase) / k for k in range(1, 24))
    bursts = np.clip(np.sin(2 * np.pi * 1.7 * time_s), 0, 1) * generator.uniform(0.6, 1.0)
    return (0.25 * bursts * sound).astype(np.float32)


def face_picture(colour: tuple[int, int, int]) -> np.ndarray:
    """An oval with eyes and a mouth, 160 pixels square."""
    picture = np.full((160, 160, 3), 60, np.uint8)
    cv2.ellipse(picture, (80, 80), (34, 46), 0, 0, 360, colour, -1)
    for x in (67, 93):
        cv2.circle(picture, (x, 70), 5, (30, 30, 30), -1)
    cv2.ellipse(picture, (80, 98), (14, 6), 0, 0, 360, (40, 40, 120), -1)
    return picture


def encoded(suffix: str, picture: np.ndarray) -> bytes:
    """The picture as a file."""
    is_written, content = cv2.imencode(suffix, picture)
    assert is_written
    return content.tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--key-file", type=Path)
    chosen = parser.parse_args()
    app = create_app(Settings(spool_dir=chosen.spool, key_file=chosen.key_file), engine="none")
    service = app.state.service
    with PageWorker(service.spool, service.store):
        uvicorn.run(app, port=chosen.port, log_config=None, timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
