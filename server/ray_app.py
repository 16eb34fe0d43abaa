"""The same enhancer on several machines: a Ray Serve application (extra `ray`).

    serve run server.ray_app:build n_replicas=2

Each replica holds one `Enhancer` and its own decode children; Ray balances between replicas and
starts those that die again. A request is a media file as the body; the answer is a WAV. Requests
that wait together go through `Enhancer.enhance_batch` together. Ray passes arguments between its
own processes with pickle: keep its ports closed to others.
"""

import asyncio
import shutil
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from avse.enhancer import Enhancer
from avse.types import EnhancedClip, EnhanceOptions
from preprocessing.media import MediaLimits
from preprocessing.types import PreparedClip
from server.catalogue import Catalogue
from server.decode_pool import DecodePool, pool_config
from server.enhanced_file import ENHANCED, write_enhanced
from server.errors import CODES
from server.failures import Failure, JobFailed, failure_of
from server.loading import warm_up_clip
from server.prepared_file import PREPARED, read_prepared
from server.settings import Settings
from server.spool import INPUT

_MAX_BATCH = 8
_BATCH_WAIT_S = 0.02
_TEND_S = 0.2


class EnhancerReplica:
    """One `Enhancer` with its decode children.

    Args:
        settings: As the environment of the application gave them.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        """Load the model and warm it up; the replica takes requests after that."""
        self._settings = Settings.model_validate(settings)
        self._pool = DecodePool(pool_config(self._settings))
        threading.Thread(target=self._tend, daemon=True).start()
        catalogue = Catalogue(self._settings.model, self._settings.bundle_dirs)
        model = catalogue.find(catalogue.default_id)
        folder = self._settings.model if model is None else model.folder
        self._enhancer = Enhancer(folder, device=self._settings.device)
        self._enhancer.enhance(warm_up_clip())

    async def __call__(self, request: Request) -> Response:
        """The voice of the media file in the body, as a WAV."""
        folder = Path(tempfile.mkdtemp(prefix="avse-ray-"))
        try:
            await self._receive(request, folder)
            clip = await asyncio.to_thread(self._prepare, folder)
            enhanced = await self._enhance(clip)
            content = await asyncio.to_thread(self._encode, folder, enhanced)
        except Exception as error:
            return _problem(failure_of(error))
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, True)
        headers = {"AVSE-Mode": enhanced.report.path}
        if enhanced.report.reason is not None:
            headers["AVSE-Fallback-Reason"] = enhanced.report.reason
        return Response(content, media_type="audio/wav", headers=headers)

    @serve.batch(  # type: ignore[untyped-decorator]
        max_batch_size=_MAX_BATCH, batch_wait_timeout_s=_BATCH_WAIT_S
    )
    async def _enhance(self, clips: list[PreparedClip]) -> list[EnhancedClip]:
        """Clips of several requests through the network together."""
        return await asyncio.to_thread(self._enhancer.enhance_batch, clips, EnhanceOptions())

    async def _receive(self, request: Request, folder: Path) -> None:
        left_bytes = self._settings.sync_max_bytes
        with (folder / INPUT).open("wb") as file:
            async for block in request.stream():
                left_bytes -= len(block)
                if left_bytes < 0:
                    raise JobFailed("payload_too_large", "the upload is too large")
                file.write(block)

    def _prepare(self, folder: Path) -> PreparedClip:
        self._pool.run("prepare", folder, {"limits": self._limits()})
        return read_prepared(folder / PREPARED, folder / INPUT)

    def _encode(self, folder: Path, enhanced: EnhancedClip) -> bytes:
        write_enhanced(folder / ENHANCED, enhanced)
        options = {"limits": self._limits(), "variants": ["audio"], "output": "wav"}
        written = self._pool.run("encode", folder, options)
        return (folder / str(written["outputs"]["audio"])).read_bytes()

    def _limits(self) -> dict[str, Any]:
        settings = self._settings
        return asdict(
            MediaLimits(
                max_pixels=settings.max_pixels,
                max_duration_s=settings.sync_max_s,
                max_streams=settings.max_streams,
                max_fps=settings.max_fps,
            )
        )

    def _tend(self) -> None:
        """Keep the children's parent alive, from one thread, as the pool asks."""
        while True:
            self._pool.tend()
            time.sleep(_TEND_S)


def _problem(failure: Failure) -> Response:
    """The failure as problem details."""
    status, title = CODES[failure.code]
    body = {"title": title, "status": status, "detail": failure.detail, "code": failure.code}
    return JSONResponse(body, status, media_type="application/problem+json")


def build(arguments: dict[str, str]) -> Any:
    """The application: `n_replicas` copies of `EnhancerReplica`, settings from the environment."""
    settings = Settings().model_dump(mode="json", exclude={"webhook_secret", "key_file"})
    deployment = serve.deployment(EnhancerReplica).options(
        num_replicas=int(arguments.get("n_replicas", 1)),
        max_ongoing_requests=4 * _MAX_BATCH,
        ray_actor_options={"num_cpus": float(arguments.get("n_cpus", 1))},
    )
    return deployment.bind(settings)
