"""`avse remote`: the same work, done by a server."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avse.commands.console import Bars, check_output, say
from avse.commands.options import (
    Head,
    IsJson,
    Mode,
    Picture,
    Skeleton,
    Strength,
    StrideS,
    Threshold,
    TopK,
    WindowS,
)
from avse.commands.segments import show_segments

if TYPE_CHECKING:
    from avse.client import Client, JobView

SOUNDS = (".wav", ".flac", ".mp3", ".opus")
# A server may answer a picture that MP4 cannot hold with MKV: only .mp4 is promised.
OUTPUTS = (*SOUNDS, ".mp4")
STAGES = {
    "probe": "reading",
    "decode": "reading",
    "track": "faces",
    "infer": "voice",
    "encode": "writing",
    "mux": "writing",
}

remote_app = typer.Typer(help="Let a server do the work.", no_args_is_help=True)


Server = Annotated[
    str, typer.Option("--server", "-s", metavar="URL", help="Such as http://localhost:8000.")
]
Key = Annotated[
    str | None, typer.Option(metavar="KEY|@FILE", help="API key, or @ and a file that holds it.")
]
Pictures = Annotated[Path, typer.Argument(help="Any file with pictures that the server reads.")]


@remote_app.command()
def enhance(
    clip: Annotated[Path, typer.Argument(help="Any file with sound that the server reads.")],
    server: Server,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="OUT",
            help="OUT.wav, .flac, .mp3 or .opus: the voice alone; .mp4: the picture copied, its "
            "sound replaced. Default: CLIP.enhanced.wav in the working folder.",
        ),
    ] = None,
    face: Annotated[
        str,
        typer.Option(metavar="WHO", help="auto, largest, a track number, or x,y,w,h@seconds."),
    ] = "auto",
    mode: Mode = "auto",
    strength: Strength = 1.0,
    key: Key = None,
) -> None:  # fmt: skip
    """Send a clip to a server and fetch the voice."""
    out = check_output(output or Path(f"{clip.stem}.enhanced.wav"), OUTPUTS, clip)
    _check_there(clip)
    wanted = {
        "face": face,
        "mode": mode,
        "strength": strength,
        "output": out.suffix.lower().removeprefix("."),
    }
    with _connected(server, key) as client, Bars() as bars:
        job = _carried_out(client, clip, wanted, bars)
        variant = "video" if out.suffix.lower() == ".mp4" else "audio"
        client.download(job["id"], variant, out, lambda done, total: bars("fetching", done, total))
        client.delete(job["id"])
    say(_summary(job, out))
    for warning in job["warnings"]:
        typer.echo(f"avse: {warning}", err=True)


@remote_app.command()
def gestures(
    clip: Pictures,
    server: Server,
    model: Head = None,
    top_k: TopK = 5,
    window_s: WindowS = None,
    stride_s: StrideS = None,
    threshold: Threshold = 0.0,
    picture: Picture = "auto",
    is_json: IsJson = False,
    key: Key = None,
) -> None:
    """Send a clip to a server and print the hand gestures it sees."""
    _recognise(
        clip, server, key, is_json, kind="gestures", model=model, top_k=top_k, window_s=window_s,
        stride_s=stride_s, threshold=threshold, picture=picture,
    )  # fmt: skip


@remote_app.command()
def actions(
    clip: Pictures,
    server: Server,
    skeleton: Skeleton = None,
    model: Head = None,
    top_k: TopK = 5,
    window_s: WindowS = None,
    stride_s: StrideS = None,
    threshold: Threshold = 0.0,
    picture: Picture = "auto",
    is_json: IsJson = False,
    key: Key = None,
) -> None:
    """Send a clip to a server and print the actions it sees."""
    if skeleton is not None:
        _check_there(skeleton)
    _recognise(
        clip, server, key, is_json, kind="actions", model=model, top_k=top_k, window_s=window_s,
        stride_s=stride_s, threshold=threshold, picture=picture, skeleton=skeleton,
    )  # fmt: skip


def _recognise(clip: Path, server: str, key: str | None, is_json: bool, **wanted: Any) -> None:
    """As a job: clips may be long, and the server may have to load its head first."""
    _check_there(clip)
    with _connected(server, key) as client, Bars() as bars:
        job = _carried_out(client, clip, wanted, bars)
        client.delete(job["id"])
    show_segments(job["result"], is_json=is_json)


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise typer.BadParameter(f"{path}: expected a file, found none")


@contextmanager
def _connected(server: str, key: str | None) -> "Iterator[Client]":
    """A client of this server.

    Raises:
        typer.BadParameter: The client is not installed, or this is no address or key.
    """
    try:
        import httpx

        from avse.client import Client
    except ImportError as error:
        raise typer.BadParameter("httpx is not installed; run ./setup.sh server") from error
    try:
        url = httpx.URL(server)
    except httpx.InvalidURL as error:
        raise typer.BadParameter(f"{server}: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise typer.BadParameter(f"{server}: expected an address such as http://localhost:8000")
    with Client(server, _key(key)) as client:
        yield client


def _key(key: str | None) -> str | None:
    """The key itself; `@FILE` keeps it out of the list of processes."""
    if key is not None and key.startswith("@"):
        path = Path(key[1:])
        if not path.is_file():
            raise typer.BadParameter(f"{path}: expected a file with a key, found none")
        key = path.read_text(encoding="utf-8").strip()
    if key is not None and not (key.isascii() and key.isprintable() and key):
        raise typer.BadParameter("--key: expected letters and digits")
    return key


def _carried_out(client: "Client", clip: Path, wanted: dict[str, Any], bars: Bars) -> "JobView":
    """Upload, wait and give back the ended job; Ctrl-C stops it on the server as well.

    Raises:
        ServerError: It failed or was canceled.
    """
    from avse.client import ServerError

    job = client.submit(clip, lambda done, total: bars("upload", done, total), **wanted)
    try:
        job = client.wait(job["id"], _StageBars(bars))
    except KeyboardInterrupt:
        client.cancel(job["id"])
        raise
    if job["status"] == "failed":
        raise ServerError(job["error"]["code"], job["error"]["detail"])
    if job["status"] == "canceled":
        raise ServerError("conflict", "the job was canceled on the server")
    return job


class _StageBars:
    """One bar for each stage, fed with the progress of the whole job."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._name = ""

    def __call__(self, job: "JobView") -> None:
        if job["status"] == "queued":
            self._bars("waiting", 0, 0)
            return
        name = STAGES.get(job.get("stage") or "", self._name)
        if self._name and name != self._name:
            self._bars(self._name, 100, 100)
        self._name = name
        if name:
            self._bars(name, round(100 * job["progress"]), 100)


def _summary(job: "JobView", out: Path) -> str:
    """One line: where the result is and how it came about, as `avse enhance` says it."""
    report = (job.get("result") or {}).get("report", {})
    how = {"av": "lips and sound", "audio_only": "sound alone", "mixed": "lips where seen"}
    reason = f" ({report['reason']})" if report.get("reason") else ""
    seen = ""
    if "face_s" in report and "duration_s" in report:
        seen = f", mouth seen {report['face_s']:.1f} of {report['duration_s']:.1f} s"
    return f"{out}\t{how.get(report.get('path', ''), 'enhanced')}{reason}{seen}"
