"""`avse faces`: who is in the picture, numbered as `avse enhance --face` takes them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avse.commands.console import Bars, check_output, make_table, say, show

if TYPE_CHECKING:
    from preprocessing.types import FaceTrack

    Speaking = Mapping[int, float | None]

COLUMNS = ["track", "from", "to", "seen in", "height", "score", "speaking"]


def faces(
    clip: Annotated[Path, typer.Argument(help="Any file with sound and picture.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="SHEET.png",
            help="Contact sheet with numbered boxes. Default: CLIP.faces.png in this folder.",
        ),
    ] = None,
    is_json: Annotated[
        bool, typer.Option("--json", help="Tracks as JSON; a sheet only where -o asks for one.")
    ] = False,
    is_scored: Annotated[
        bool,
        typer.Option(
            "--speaking",
            help="Also measure how well each mouth moves with the sound: what auto goes by.",
        ),
    ] = False,
    detector: Annotated[
        str, typer.Option(help="embedded, face-alignment or yunet.")
    ] = "embedded",
) -> None:  # fmt: skip
    """Follow the faces of a clip and draw a contact sheet."""
    sheet = None if is_json and output is None else output or Path(f"{clip.stem}.faces.png")
    if sheet is not None:
        check_output(sheet, (".png",), clip)
    tracks, speaking = (_score if is_scored else _follow)(clip, detector)
    if tracks and sheet is not None:
        from avse.contact_sheet import write_contact_sheet
        from preprocessing.media import open_frames

        write_contact_sheet(open_frames(clip), tracks, sheet)
    if is_json:
        described = [_described(track, speaking) for track in tracks]
        say(json.dumps({"tracks": described}, indent=2))
    elif not tracks:
        say("no face")
    else:
        show(make_table(f"{sheet}", COLUMNS, [_row(track, speaking) for track in tracks]))


def _follow(clip: Path, detector: str) -> "tuple[tuple[FaceTrack, ...], Speaking]":
    """The tracks alone."""
    from preprocessing.pipeline import PipelineConfig, prepare_faces_only

    with Bars() as bars:
        return prepare_faces_only(clip, PipelineConfig(detector=detector), bars).tracks, {}


def _score(clip: Path, detector: str) -> "tuple[tuple[FaceTrack, ...], Speaking]":
    """The tracks, and by track id how far lips and sound agree above chance."""
    from avse.device import resolve_device
    from avse.speaker_choice import LipSyncSpeaker
    from preprocessing.pipeline import PipelineConfig, prepare

    with Bars() as bars:
        prepared = prepare(clip, PipelineConfig(detector=detector), bars)
        chosen = LipSyncSpeaker(resolve_device()).choose(prepared, "all")
    return prepared.tracks, {face.track_id: face.score for face in chosen}


def _described(track: "FaceTrack", speaking: "Speaking") -> dict[str, Any]:
    """A track as JSON: times in seconds, the median box in source pixels."""
    agreement = speaking.get(track.track_id)
    return {
        "id": track.track_id,
        "start_s": round(float(track.times_s[0]), 3),
        "end_s": round(float(track.times_s[-1]), 3),
        "n_frames": len(track.times_s),
        "box_xyxy": _median_box(track),
        "score": round(_mean_score(track), 3),
        "speaking_score": None if agreement is None else round(agreement, 4),
    }


def _row(track: "FaceTrack", speaking: "Speaking") -> list[str]:
    box, agreement = _median_box(track), speaking.get(track.track_id)
    return [
        str(track.track_id),
        f"{track.times_s[0]:.2f} s",
        f"{track.times_s[-1]:.2f} s",
        f"{len(track.times_s)} frames",
        f"{box[3] - box[1]:.0f} px",
        f"{_mean_score(track):.2f}",
        "-" if agreement is None else f"{agreement:.3f}",
    ]


def _median_box(track: "FaceTrack") -> list[float]:
    """Left, top, right and bottom, source pixels."""
    import numpy as np

    return [round(float(edge), 1) for edge in np.median(track.boxes_xyxy, axis=0)]


def _mean_score(track: "FaceTrack") -> float:
    """Mean score of the pictures in which the face was detected, not bridged."""
    seen = track.scores[track.scores > 0]
    return float(seen.mean()) if seen.size else 0.0
