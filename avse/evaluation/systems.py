"""What is compared: our bundles, other enhancers given as commands, and doing nothing."""

import re
import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from avse.evaluation.errors import InvalidOptions, LengthsDiffer, SystemFailed
from preprocessing.media import read_audio
from preprocessing.media_write import write_audio
from preprocessing.types import MouthTrack, Waveform

MIXTURE = "mixture"


class System(Protocol):
    """Anything that makes a noisy sound better."""

    @property
    def name(self) -> str:
        """As tables show it."""
        ...

    @property
    def sees(self) -> bool:
        """Whether the mouth can change its output; if not, no lips control is run."""
        ...

    def enhance(self, noisy: Waveform, mouth: MouthTrack | None) -> Waveform:
        """The enhanced sound, as long as the noisy one.

        Raises:
            SystemFailed: There is no output.
        """
        ...


@dataclass(frozen=True, slots=True)
class CommandSystem:
    """Another enhancer, run as `program ... {in} ... {out}` on 16 kHz WAV files, without a shell.

    Attributes:
        name: As tables show it.
        arguments: With `{in}` and `{out}` in them.
        timeout_s: After which a run has failed.
    """

    name: str
    arguments: tuple[str, ...]
    timeout_s: float = 600.0

    @property
    def sees(self) -> bool:
        """A command is given sound only."""
        return False

    @classmethod
    def parse(cls, text: str) -> "CommandSystem":
        """`[NAME=]program ... {in} ... {out}`.

        Raises:
            InvalidOptions: `{in}` or `{out}` is missing.
        """
        match = re.match(r"([\w.-]+)=(?=\S)", text)
        arguments = tuple(shlex.split(text[match.end() :] if match else text))
        joined = " ".join(arguments)
        if "{in}" not in joined or "{out}" not in joined:
            raise InvalidOptions(
                f"compare: expected {{in}} and {{out}} in the command, got {text!r}"
            )
        return cls(match[1] if match else Path(arguments[0]).name, arguments)

    def enhance(self, noisy: Waveform, mouth: MouthTrack | None) -> Waveform:
        """Write the sound, run the command, read its output.

        Raises:
            SystemFailed: The command failed, took too long or left no output.
        """
        with tempfile.TemporaryDirectory(prefix="avse-compare-") as folder:
            source, target = Path(folder) / "in.wav", Path(folder) / "out.wav"
            write_audio(source, noisy)
            self._run({"{in}": str(source), "{out}": str(target)})
            if not target.is_file():
                raise SystemFailed(f"{self.name}: left no output")
            return read_audio(target, noisy.sample_rate_hz)

    def _run(self, places: dict[str, str]) -> None:
        arguments = [re.sub(r"\{in\}|\{out\}", lambda m: places[m[0]], a) for a in self.arguments]
        try:
            done = subprocess.run(
                arguments, capture_output=True, text=True, timeout=self.timeout_s, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SystemFailed(f"{self.name}: {error}") from error
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise SystemFailed(f"{self.name}: exit code {done.returncode}: {last}")


def checked_output(system: System, noisy: Waveform, mouth: MouthTrack | None) -> np.ndarray:
    """Run a system and insist on as many samples as went in.

    Raises:
        LengthsDiffer: There are more or fewer.
        SystemFailed: There is no output.
    """
    enhanced = system.enhance(noisy, mouth)
    if enhanced.n_samples != noisy.n_samples or enhanced.sample_rate_hz != noisy.sample_rate_hz:
        wanted = f"{noisy.n_samples} samples at {noisy.sample_rate_hz} Hz"
        found = f"{enhanced.n_samples} at {enhanced.sample_rate_hz} Hz"
        raise LengthsDiffer(f"{system.name}: expected {wanted}, found {found}")
    return enhanced.samples
