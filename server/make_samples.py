"""Makes the sample clips of the page anew: `python -m server.make_samples [FOLDER]`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from avse.demo import DemoConfig, make_demo_clip
from avse.demo_pair import make_pair_clip

FOLDER = Path(__file__).parent / "web" / "samples"
ONE_FACE = DemoConfig(interferer_db=12.0, noise_db=2.0, seed=3)
TWO_FACES = DemoConfig(interferer_db=15.0, noise_db=4.0, seed=5)


def make_samples(folder: Path) -> None:
    """Write `talking.mp4` and `two-faces.mp4`.

    Raises:
        OutputError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    make_demo_clip(folder / "talking.mp4", ONE_FACE)
    make_pair_clip(folder / "two-faces.mp4", TWO_FACES)


def main(arguments: Sequence[str]) -> int:
    """Write both; the exit code."""
    make_samples(Path(arguments[0]) if arguments else FOLDER)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
