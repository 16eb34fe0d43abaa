"""One suite for every face detector; backends whose weights are absent must say what to fetch."""

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data as pictures

from models.errors import ModelError
from preprocessing import faces
from preprocessing.boxes import pairwise_iou
from preprocessing.close_look import look_close
from preprocessing.faces import (
    EmbeddedDetector,
    FaceAlignmentDetector,
    FanLandmarks,
    YunetDetector,
    make_detector,
    shrink,
)
from preprocessing.foreign_weights import (
    FAN_WEIGHTS,
    S3FD_WEIGHTS,
    YUNET_WEIGHTS,
    DetectorUnavailable,
)
from tests.preprocessing.scripted_faces import ScriptedDetector, paint, scenery

ASTRONAUT_BOX = np.array([[175, 62, 275, 190]], np.float32)


def portrait(name):
    """A picture with one face and its box."""
    if name == "scripted":
        return paint(scenery(512, 512), ASTRONAUT_BOX[0]), ASTRONAUT_BOX
    return pictures.astronaut(), ASTRONAUT_BOX


@pytest.fixture(scope="module", params=["scripted", "embedded", "face-alignment", "yunet"])
def detector(request):
    if request.param == "scripted":
        return ScriptedDetector()
    try:
        return make_detector(request.param)
    except DetectorUnavailable as error:
        pytest.skip(str(error))


def test_no_pictures_give_nothing(detector):
    assert detector.detect([]) == []


def test_a_picture_without_faces_gives_empty_arrays(detector):
    (found,) = detector.detect([np.full((120, 160, 3), 128, np.uint8)])
    assert found.boxes_xyxy.shape == (0, 4)
    assert found.scores.shape == (0,)


def test_the_face_is_found_first(detector):
    image, box = portrait(detector.name)
    (found,) = detector.detect([image])
    assert pairwise_iou(found.boxes_xyxy[:1], box)[0, 0] > 0.5
    assert found.boxes_xyxy.dtype == np.float32
    assert found.scores.dtype == np.float32
    assert np.all(np.diff(found.scores) <= 0)
    assert np.all((found.scores >= 0) & (found.scores <= 1))


@pytest.mark.parametrize(("scale", "shift_px"), [(0.5, 0), (2.0, 0), (1.0, 40)])
def test_the_box_follows_size_and_place(detector, scale, shift_px):
    image, box = portrait(detector.name)
    moved = cv2.resize(np.roll(image, shift_px, axis=1), None, fx=scale, fy=scale)
    (found,) = detector.detect([np.ascontiguousarray(moved)])
    wanted = (box + np.float32([shift_px, 0, shift_px, 0])) * np.float32(scale)
    assert pairwise_iou(found.boxes_xyxy[:1], wanted)[0, 0] > 0.5


def test_boxes_stay_within_the_picture(detector):
    image, _ = portrait(detector.name)
    cut = np.ascontiguousarray(image[60:300, 200:450])
    (found,) = detector.detect([cut])
    assert np.all(found.boxes_xyxy >= 0)
    assert np.all(found.boxes_xyxy <= np.array([250, 240, 250, 240]))


def test_pictures_of_mixed_sizes_are_answered_one_by_one_and_in_order(detector):
    image, _ = portrait(detector.name)
    blank = np.full((100, 90, 3), 90, np.uint8)
    small = cv2.resize(image, (256, 256))
    together = detector.detect([image, blank, small, image])
    assert [len(found.scores) > 0 for found in together] == [True, False, True, True]
    (alone,) = detector.detect([small])
    np.testing.assert_allclose(together[2].boxes_xyxy, alone.boxes_xyxy, atol=0.5)


def test_a_close_look_finds_a_known_face_in_the_pictures_own_pixels(detector):
    image, box = portrait(detector.name)
    found = look_close(detector, image, box + np.float32(15))
    assert pairwise_iou(found.boxes_xyxy[:1], box)[0, 0] > 0.5


def test_names_and_unknown_names():
    assert make_detector().name == "embedded"
    with pytest.raises(ModelError, match="embedded"):
        make_detector("psychic")


@pytest.mark.parametrize(
    ("open_backend", "weights"),
    [
        (FaceAlignmentDetector, S3FD_WEIGHTS),
        (FanLandmarks, FAN_WEIGHTS),
        (YunetDetector, YUNET_WEIGHTS),
    ],
)
class TestForeignWeights:
    def test_absent_weights_say_what_to_fetch_and_where_to_put_it(
        self, open_backend, weights, monkeypatch, tmp_path
    ):
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        monkeypatch.setattr(torch.hub, "download_url_to_file", _forbidden)
        with pytest.raises(DetectorUnavailable) as caught:
            open_backend()
        assert caught.value.code == "detector_unavailable"
        assert weights.url in str(caught.value)
        assert str(tmp_path / "checkpoints" / weights.name) in str(caught.value)

    def test_a_given_path_that_is_absent_is_named(self, open_backend, weights, tmp_path):
        with pytest.raises(DetectorUnavailable, match="nowhere"):
            open_backend(tmp_path / "nowhere.bin")

    def test_a_file_that_is_something_else_is_refused(self, open_backend, weights, tmp_path):
        path = tmp_path / "weights.bin"
        path.write_bytes(b"not weights at all")
        with pytest.raises(DetectorUnavailable, match=r"weights\.bin"):
            open_backend(path)

    def test_it_is_fetched_only_when_asked(self, open_backend, weights, monkeypatch, tmp_path):
        fetched = []

        def fetch(url, path, **_):
            fetched.append(url)
            Path(path).write_bytes(b"broken")

        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
        with pytest.raises(DetectorUnavailable, match="found"):
            open_backend(download=True)
        assert fetched == [weights.url]

    def test_a_failed_download_is_our_error(self, open_backend, weights, monkeypatch, tmp_path):
        def fail(*_args, **_options):
            raise OSError("no route")

        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
        with pytest.raises(DetectorUnavailable, match="no route"):
            open_backend(download=True)


def test_the_installed_package_still_publishes_at_the_places_we_name():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from face_alignment.api import models_urls
        from face_alignment.detection.sfd.sfd_detector import models_urls as detector_urls
    assert models_urls["2DFAN-4"] == FAN_WEIGHTS.url
    assert detector_urls["s3fd"] == S3FD_WEIGHTS.url


@pytest.mark.slow
def test_s3fd_with_fresh_weights_runs_through_the_adapter(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from face_alignment.detection.sfd.net_s3fd import s3fd
    torch.save(s3fd().state_dict(), tmp_path / "s3fd.pth")
    detector = FaceAlignmentDetector(tmp_path / "s3fd.pth", threshold=2.0, long_side_px=96)
    (found,) = detector.detect([np.zeros((120, 160, 3), np.uint8)])
    assert found.boxes_xyxy.shape == (0, 4)


class TinyFan(torch.nn.Module):
    """Heat maps of the right shape."""

    def __init__(self, _n_modules):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 68, 4, stride=4)

    def forward(self, images):
        return [self.layer(images)]


def test_landmarks_run_through_the_adapter_without_the_packages_loader(tmp_path, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import face_alignment.models
    monkeypatch.setattr(face_alignment.models, "FAN", TinyFan)
    monkeypatch.setattr(torch.hub, "download_url_to_file", _forbidden)
    torch.save(TinyFan(4).state_dict(), tmp_path / "fan.pth.tar")
    landmarks = FanLandmarks(tmp_path / "fan.pth.tar")
    image = pictures.astronaut()
    assert landmarks.locate(image, ASTRONAUT_BOX).shape == (1, 68, 2)
    assert landmarks.locate(image, np.zeros((0, 4), np.float32)).shape == (0, 68, 2)


def test_yunet_rows_become_boxes_in_the_pictures_own_pixels(tmp_path, monkeypatch):
    class FakeYunet:
        rows = np.zeros((1, 15), np.float32)

        def setInputSize(self, size):  # noqa: N802 (OpenCV's name)
            self.size = size

        def detect(self, image):
            assert image.shape[1::-1] == self.size
            return 1, self.rows

    net = FakeYunet()
    net.rows[0, [0, 1, 2, 3, 14]] = 10, 20, 30, 40, 0.8
    path = tmp_path / "yunet.onnx"
    path.write_bytes(b"")
    monkeypatch.setattr(faces.cv2.FaceDetectorYN, "create", lambda *_: net)
    detector = YunetDetector(path, long_side_px=100)
    (found,) = detector.detect([np.zeros((200, 200, 3), np.uint8)])
    assert found.boxes_xyxy.tolist() == [[20.0, 40.0, 80.0, 120.0]]
    net.rows = None
    assert len(detector.detect([np.zeros((50, 50, 3), np.uint8)])[0].scores) == 0


def test_pictures_are_shrunk_and_never_enlarged():
    assert shrink(np.zeros((200, 400, 3), np.uint8), 100).shape == (50, 100, 3)
    assert shrink(np.zeros((20, 40, 3), np.uint8), 100).shape == (20, 40, 3)
    assert shrink(np.zeros((4000, 2, 3), np.uint8), 100).shape == (100, 1, 3)


def test_the_embedded_detector_takes_its_size_from_the_caller_or_the_bundle():
    image = np.zeros((64, 64, 3), np.uint8)
    assert len(EmbeddedDetector(long_side_px=32, threshold=0.99).detect([image])[0].scores) == 0


def test_overlap_of_boxes():
    one = np.array([[0, 0, 10, 10], [0, 0, 0, 0]], np.float32)
    other = np.array([[5, 0, 15, 10], [20, 20, 30, 30]], np.float32)
    np.testing.assert_allclose(pairwise_iou(one, other), [[1 / 3, 0], [0, 0]], atol=1e-6)


def _forbidden(*_args, **_options):
    raise AssertionError("nothing may be downloaded")
