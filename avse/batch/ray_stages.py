"""The stages on a cluster: Ray tasks read clips, Ray actors enhance and write them.

Tasks and actors, not Ray Data: that moves blocks of rows, repeats them as blocks, and tells when a
block ends. The ledger wants each clip by itself, claimed before it begins and put down when its
file is in place, and memory is bounded by seconds of sound. Actors hold the network's and the
writing stage of the local engine. The driver alone touches the ledger; clips on their way go from
machine to machine without it, and Ray reads a clip again whose machine is lost.
"""

import logging
import secrets
import signal
import threading
import time
from concurrent.futures import Future
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import ray
import torch

import avse
from avse.batch.errors import BatchStopped
from avse.batch.network import NetworkStage, Waiting
from avse.batch.pipeline import Workshop
from avse.batch.reading import Reading, ReadTask, read
from avse.batch.stages import GPU_CLIPS, Capacity, clips_in_call, open_enhancer
from avse.batch.work import Failure, Work
from avse.batch.writing import Ended, WritingStage
from avse.bundle import Bundle
from avse.errors import ConfigError
from preprocessing.types import PreparedClip

logger = logging.getLogger(__name__)

MAX_RETRIES = 2
START_S = 600.0
_LOOK_S = 0.2


def read_clip(task: ReadTask) -> tuple[Reading, PreparedClip | None]:
    """What the driver needs to know of a clip, and the clip."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    reading = read(task)
    return replace(reading, prepared=None), reading.prepared


class Enhancing:
    """One network and one writing stage, as an actor.

    Args:
        bundle: The weights, the same ones everywhere.
        device: `cpu` or `cuda`: the one Ray gives it.
        detector: Name of the face detector.
        out_dir: Where results belong.
        run_folder: Of the run; results are written first in a folder of their own below it. The
            next run removes it, after which an actor that outlived its driver can put nothing in
            place.
    """

    def __init__(
        self, bundle: Bundle, device: str, detector: str, out_dir: Path, run_folder: Path
    ) -> None:
        """Start the stages."""
        if device == "cpu":
            torch.set_num_threads(1)
        enhancer = open_enhancer(bundle, device, detector)
        folder = run_folder / f"actor-{secrets.token_hex(6)}"
        folder.mkdir()
        self._ended: dict[int, Future[Ended]] = {}
        self._writing = WritingStage(out_dir, folder, self._deliver)
        window_frames = enhancer.bundle.settings.chunk.window_frames
        max_clips = clips_in_call(enhancer.device)
        self._network = NetworkStage(enhancer, window_frames, max_clips, self._writing.put)

    def version(self) -> str:
        """Of this machine's avse."""
        return avse.__version__

    def enhance(self, number: int, work: Work, prepared: PreparedClip) -> Ended:
        """Enhance and write a clip; it may be asked for again while it is under way."""
        fresh: Future[Ended] = Future()
        ended = self._ended.setdefault(number, fresh)
        if ended is fresh:
            # Ray's shared memory cannot be written, and is free again after a copy.
            self._network.put(Waiting(number, work, deepcopy(prepared)))
        return ended.result()

    def _deliver(self, ended: Ended) -> None:
        self._ended.pop(ended.number).set_result(ended)


@dataclass(slots=True)
class _Sent:
    """A clip with an actor.

    Attributes:
        index: Of the actor.
        n_lost: How many actors lost it.
    """

    number: int
    work: Work
    prepared: Any
    index: int = 0
    n_lost: int = 0


class RayStages:
    """Read in tasks all over the cluster, enhanced and written by actors.

    Args:
        shop: What the pipeline works with.
        detector: Name of the face detector.
        device: `auto`, `cpu` or `cuda`; with a GPU there is an actor for each, without one an
            actor for every two CPUs.
        n_workers: Clips read at once; 0: one for each CPU the actors leave.

    Attributes:
        capacity: How much at once.
    """

    def __init__(self, shop: Workshop, detector: str, device: str, n_workers: int) -> None:
        """Find the cluster, or start one on this machine, and start the actors.

        Raises:
            BatchStopped: They do not start.
            ConfigError: The cluster has no such device.
        """
        self._is_own = not ray.is_initialized()
        if self._is_own:
            _connect()
        try:
            self._start(shop, detector, device, n_workers)
        except BaseException:
            self.close()
            raise

    def _start(self, shop: Workshop, detector: str, device: str, n_workers: int) -> None:
        found = ray.cluster_resources()
        n_cpus, n_gpus = int(found.get("CPU", 1)), int(found.get("GPU", 0))
        is_gpu = _wants_gpu(device, n_gpus)
        n_actors = n_gpus if is_gpu else max(1, n_cpus // 2)
        n_readers = n_workers or max(1, n_cpus - n_actors)
        max_clips = GPU_CLIPS if is_gpu else 1
        n_ahead = max(2 * max_clips, 4) * n_actors + n_readers
        self.capacity = Capacity(n_readers, max_clips, n_ahead, ahead_s=3600.0 * n_actors)
        self._reading: dict[Any, int] = {}
        self._prepared: dict[int, Any] = {}
        self._enhancing: dict[Any, _Sent] = {}
        self._loads = [0] * n_actors
        self._away: dict[Any, int] = {}
        self._unsent: list[_Sent] = []
        self._read_task = ray.remote(read_clip).options(
            num_returns=2, num_cpus=1, max_retries=MAX_RETRIES, scheduling_strategy="SPREAD"
        )
        kind = ray.remote(Enhancing).options(
            num_cpus=0,  # where machines are lost, actors that move must not starve the reading
            num_gpus=1 if is_gpu else 0,
            max_restarts=-1,
            max_concurrency=max(2 * max_clips, 4) + 1,
            scheduling_strategy="SPREAD",
        )
        self._bundle = ray.put(shop.enhancer.bundle)  # kept for actors that start again
        folders = shop.out_dir.absolute(), shop.run.folder.absolute()
        where = "cuda" if is_gpu else "cpu"
        self._actors = [
            kind.remote(self._bundle, where, detector, *folders) for _ in range(n_actors)
        ]
        self._meet(shop.is_stopped)

    def _meet(self, is_stopped: threading.Event) -> None:
        """Wait until every actor is there; they must be of this version."""
        asked = [actor.version.remote() for actor in self._actors]
        give_up_s = time.monotonic() + START_S
        waiting = asked
        while waiting and not is_stopped.is_set():
            if time.monotonic() > give_up_s:
                raise BatchStopped(f"{len(waiting)} actors of the cluster did not start in time")
            _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=_LOOK_S)
        if is_stopped.is_set():
            return
        try:
            versions = set(ray.get(asked))
        except ray.exceptions.RayError as error:
            logger.info("an actor did not start", exc_info=error)
            wanted = "avse and OUT on every machine of the cluster"
            raise BatchStopped(f"an actor did not start: expected {wanted}") from error
        if versions != {avse.__version__}:
            found = ", ".join(sorted(versions))
            raise BatchStopped(f"expected avse {avse.__version__} everywhere, found {found}")

    @property
    def n_idle(self) -> int:
        """Clips that could be read at once."""
        return self.capacity.n_readers - len(self._reading)

    def read(self, task: ReadTask) -> None:
        """Start reading a clip; call it only while `n_idle` is above zero."""
        facts, prepared = self._read_task.remote(replace(task, folder=None))
        self._reading[facts] = task.number
        self._prepared[task.number] = prepared

    def enhance(self, reading: Reading, work: Work) -> None:
        """Enhance and write a clip that has been read, in the actor with least to do."""
        self._send(_Sent(reading.number, work, self._prepared.pop(reading.number)))

    def _send(self, clip: _Sent) -> None:
        """To the actor with least to do; while none is there the clip waits."""
        away = self._away.values()
        there = [index for index in range(len(self._actors)) if index not in away]
        if not there:
            self._unsent.append(clip)
            return
        clip.index = min(there, key=self._loads.__getitem__)
        self._loads[clip.index] += 1
        ask = self._actors[clip.index].enhance.options(max_task_retries=0)
        self._enhancing[ask.remote(clip.number, clip.work, clip.prepared)] = clip

    def wait(self, timeout_s: float) -> list[Reading | Ended]:
        """What has been read or has ended, now or within the time.

        Raises:
            BatchStopped: An actor that was lost does not start again.
        """
        waiting = [*self._reading, *self._enhancing, *self._away]
        if not waiting:
            time.sleep(timeout_s)
            return []
        ready, rest = ray.wait(waiting, num_returns=1, timeout=timeout_s)
        if rest:
            ready += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        return [found for each in ready if (found := self._received(each)) is not None]

    def _received(self, reference: Any) -> Reading | Ended | None:
        if reference in self._reading:
            return self._read(reference)
        if reference in self._enhancing:
            return self._ended(reference)
        self._on_back(reference)
        return None

    def _read(self, reference: Any) -> Reading:
        number = self._reading.pop(reference)
        try:
            reading: Reading = ray.get(reference)
        except ray.exceptions.RayError as error:
            reading = Reading(number, failure=_lost(error))
        if reading.audio_s is None:
            del self._prepared[number]
        return reading

    def _ended(self, reference: Any) -> Ended | None:
        """How the clip ended; None where its actor was lost and another has it now."""
        clip = self._enhancing.pop(reference)
        self._loads[clip.index] -= 1
        try:
            ended: Ended = ray.get(reference)
        except ray.exceptions.RayError as error:
            clip.n_lost += 1
            self._set_away(clip.index)
            if clip.n_lost > MAX_RETRIES:
                return Ended(clip.number, failure=_lost(error))
            self._send(clip)
            return None
        return ended

    def _set_away(self, index: int) -> None:
        """Ray starts a lost actor again, maybe elsewhere; it gets no clips until it answers."""
        if index not in self._away.values():
            answer = self._actors[index].version.options(max_task_retries=-1).remote()
            self._away[answer] = index

    def _on_back(self, answer: Any) -> None:
        try:
            ray.get(answer)
        except ray.exceptions.RayError as error:
            raise BatchStopped("an actor of the cluster cannot be started again") from error
        del self._away[answer]
        unsent, self._unsent = self._unsent, []
        for clip in unsent:
            self._send(clip)

    def close(self) -> None:
        """End the actors, and the cluster if it was started here; what is under way is dropped."""
        for actor in getattr(self, "_actors", []):
            ray.kill(actor)
        if self._is_own:
            ray.shutdown()


def _connect() -> None:
    """To the cluster of `RAY_ADDRESS` or of this machine; Ray takes SIGTERM, which is not its."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = str(error).partition("\n")[0]
        raise BatchStopped(f"the cluster cannot be reached or started: {reason}") from error
    if is_main:
        signal.signal(signal.SIGTERM, before)


def _lost(error: Exception) -> Failure:
    logger.info("a worker is lost", exc_info=error)
    reason = f"the worker was lost {MAX_RETRIES + 1} times ({type(error).__name__})"
    return Failure("worker_lost", reason)


def _wants_gpu(device: str, n_gpus: int) -> bool:
    if device not in ("auto", "cpu", "cuda") or (device == "cuda" and not n_gpus):
        wanted = "auto, cpu or, where the cluster has GPUs, cuda"
        raise ConfigError(f"device: expected {wanted}, found {device!r}")
    return device != "cpu" and n_gpus > 0
