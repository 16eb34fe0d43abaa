"""The network that tells whether lips are to be seen: shapes and errors."""

import pytest
import torch

from models.mouth_clarity import MouthClarityConfig, MouthClarityNet

TINY = MouthClarityConfig(crop_px=32, widths=(2, 3, 4), n_hidden=5)


def test_one_answer_a_crop_from_its_middle() -> None:
    net = MouthClarityNet(TINY).eval()
    crops = torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8)
    answer = net(crops)
    assert answer.shape == (3,)
    framed = crops.clone()
    framed[:, :4], framed[:, :, :4] = 0, 0
    assert torch.equal(net(framed), answer)
    crops[:, 20:, 20:] = 0
    assert not torch.allclose(net(crops), answer)


def test_small_crops_and_odd_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="found"):
        MouthClarityNet(TINY)(torch.zeros(1, 31, 40))
    with pytest.raises(ValueError, match="multiple of 16"):
        MouthClarityConfig(crop_px=100)
