"""Checks a built wheel: `python -m tests.check_wheel avse-*.whl`; run by .ci/run."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGES = {"avse", "server", "preprocessing", "models"}


def check(wheel: Path) -> None:
    """Fail unless the wheel holds the four packages with their bundles and runs from a zip's copy.

    Raises:
        SystemExit: It does not; the message says why.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
        if tops != PACKAGES:
            raise SystemExit(f"{wheel.name}: expected {sorted(PACKAGES)}, found {sorted(tops)}")
        described = {n.rsplit("/", 1)[0] for n in names if n.endswith("/bundle.json")}
        weighted = {n.rsplit("/", 1)[0] for n in names if n.endswith("/weights.safetensors")}
        if not described or described != weighted:
            raise SystemExit(f"{wheel.name}: bundles {described} and weights {weighted} differ")
        with tempfile.TemporaryDirectory() as folder:
            archive.extractall(folder)
            command = [sys.executable, "-c", "from avse.cli import main; main()", "--version"]
            subprocess.run(command, cwd=folder, check=True)
    sys.stdout.write(f"{wheel.name}: {len(names)} files, {len(described)} bundles\n")


if __name__ == "__main__":
    check(Path(sys.argv[1]))
