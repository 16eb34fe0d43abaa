"""The landmark network: shapes, gradients, units, saving."""

from pathlib import Path

import pytest
import torch

from models.mouth_landmarks import MouthLandmarksConfig, MouthLandmarksNet, cell_centres
from models.weights import BundleSpec, load_strict, load_weights, read_spec, save_bundle

SMALL = MouthLandmarksConfig(
    face_px=32, stem_channels=4, stage_channels=(4, 6, 8), stage_blocks=(1, 1, 1), heat_channels=4
)


def _faces(n_faces: int, side_px: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (n_faces, side_px, side_px)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def test_default_network_is_small() -> None:
    net = MouthLandmarksNet(MouthLandmarksConfig())
    assert sum(p.numel() for p in net.parameters()) <= 800_000
    assert net.eval()(_faces(1, 96)).shape == (1, 25, 2)


def test_grey_and_rgb_of_the_same_picture_agree() -> None:
    net = MouthLandmarksNet(SMALL).eval()
    grey = _faces(3, 32)
    rgb = grey[:, None].expand(-1, 3, -1, -1)
    torch.testing.assert_close(net(grey), net(rgb), atol=1e-4, rtol=0)
    torch.testing.assert_close(net(grey), net(grey[:, None].float()), atol=1e-5, rtol=0)


def test_light_does_not_matter() -> None:
    net = MouthLandmarksNet(SMALL).eval()
    faces = _faces(2, 32).float()
    torch.testing.assert_close(net(faces), net(0.5 * faces + 60), atol=0.02, rtol=0)


def test_batch_does_not_matter_in_eval() -> None:
    net = MouthLandmarksNet(SMALL).eval()
    faces = _faces(4, 32)
    alone = torch.cat([net(face[None]) for face in faces])
    torch.testing.assert_close(net(faces), alone, atol=1e-5, rtol=0)


def test_fused_copy_gives_the_same_points() -> None:
    torch.manual_seed(1)
    net = MouthLandmarksNet(SMALL)
    for _ in range(3):
        net(_faces(8, 32))  # moves the running statistics off their start
    net.eval()
    fused = net.fused()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    torch.testing.assert_close(fused(_faces(2, 32)), net(_faces(2, 32)), atol=1e-5, rtol=0)


def test_every_parameter_receives_a_gradient() -> None:
    torch.manual_seed(0)
    net = MouthLandmarksNet(SMALL)
    torch.nn.init.normal_(net.shift.weight, std=0.01)
    net(_faces(4, 32)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        # a softmax ignores a constant, so the bias of the heat maps has none
        assert name == "heat.bias" or parameter.grad.abs().sum() > 0, name


def test_cell_centres_are_rows_first() -> None:
    centres = cell_centres(2, torch.zeros(1))
    assert centres.tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]


@pytest.mark.parametrize("shape", [(2, 33, 32), (2, 2, 32, 32), (32, 32)])
def test_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="faces: expected"):
        MouthLandmarksNet(SMALL)(torch.zeros(shape))


def test_wrong_config_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        MouthLandmarksConfig(face_px=90)
    with pytest.raises(ValueError, match="three entries"):
        MouthLandmarksConfig(stage_channels=(8, 8))  # type: ignore[arg-type]


def test_saved_network_gives_the_same_points(tmp_path: Path) -> None:
    net = MouthLandmarksNet(SMALL).half().float().eval()
    config = {name: getattr(SMALL, name) for name in SMALL.__slots__}
    spec = BundleSpec("m", "mouth_landmarks", "mouth_landmarks", config, {}, {})
    save_bundle(tmp_path, spec, net)
    found = read_spec(tmp_path)
    again = MouthLandmarksNet(MouthLandmarksConfig(**found.model_config))
    assert again.config == SMALL
    load_strict(again, load_weights(tmp_path, found), "test")
    torch.testing.assert_close(again(_faces(2, 32)), net(_faces(2, 32)))
