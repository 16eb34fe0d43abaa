"""All settings of the service; the only reader of the environment (prefix `AVSE_`)."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_MB = 1_000_000
_GB = 1_000_000_000


class Settings(BaseSettings):
    """What the operator may choose; each field is an environment variable `AVSE_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="AVSE_", frozen=True, extra="ignore")

    # Where things are
    spool_dir: Path = Field(
        default_factory=lambda: Path.home() / ".local" / "state" / "avse",
        description="Folder of jobs and their database; made if missing.",
    )
    model: str = Field(default="avse-mmtm", description="Bundle that enhances: a name or a folder.")
    bundle_dirs: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(), description="More folders of bundles, separated by colons."
    )
    gesture_model: str = Field(
        default="gesture-mmtm",
        description="Head of /v1/gestures: a bundle's name or a folder; empty: none.",
    )
    action_model: str = Field(
        default="action-mmtm",
        description="Head of /v1/actions: a bundle's name or a folder; empty: none.",
    )
    device: str = Field(default="auto", description="auto, cpu or cuda[:N].")
    detector: str = Field(default="embedded", description="Face detector.")
    key_file: Path | None = Field(
        default=None, description="JSON file of hashed keys; without: open."
    )

    # What may come in
    sync_max_bytes: int = Field(
        default=100 * _MB, gt=0, description="Upload of a synchronous call."
    )
    sync_max_s: float = Field(
        default=60.0, gt=0, description="Length of a clip in a synchronous call."
    )
    job_max_bytes: int = Field(default=1 * _GB, gt=0, description="Upload of a job.")
    job_max_s: float = Field(default=1800.0, gt=0, description="Length of a clip in a job.")
    max_pixels: int = Field(default=9_437_184, gt=0, description="Pixels of one picture.")
    max_fps: float = Field(default=120.0, gt=0, description="Pictures per second.")
    max_streams: int = Field(default=8, gt=0, description="Streams of one container.")
    max_fields: int = Field(default=20, gt=0, description="Form fields of one request.")
    max_field_bytes: int = Field(default=4096, gt=0, description="Size of one form field.")
    max_uploads: int = Field(default=64, gt=0, description="Uploads received at the same time.")
    receive_idle_s: float = Field(default=15.0, gt=0, description="Silence of an uploading client.")
    receive_min_bytes_s: float = Field(
        default=1000.0, ge=0, description="Bytes a second of an upload, after twice that silence."
    )
    receive_max_s: float = Field(default=900.0, gt=0, description="Whole time of one upload.")
    min_free_bytes: int = Field(
        default=256 * _MB, ge=0, description="Disk that uploads leave free."
    )

    # How much may wait, and how long
    max_queued: int = Field(default=100, gt=0, description="Jobs that may wait.")
    max_sync: int = Field(default=24, gt=0, description="Synchronous calls at one time.")
    max_jobs_per_key: int = Field(default=50, gt=0, description="Unfinished jobs of one key.")
    sync_timeout_s: float = Field(default=120.0, gt=0, description="Wait of a synchronous call.")
    max_wait_s: float = Field(default=60.0, gt=0, description="Longest `Prefer: wait=N` on a job.")
    job_ttl_s: float = Field(default=3600.0, gt=0, description="How long results are kept.")
    max_attempts: int = Field(default=3, gt=0, description="Starts of a job whose worker died.")
    lease_s: float = Field(
        default=15.0, gt=0, description="A silent worker loses its jobs after this."
    )
    heartbeat_s: float = Field(default=5.0, gt=0, description="Time between signs of life.")
    drain_s: float = Field(default=30.0, gt=0, description="What running work gets after SIGTERM.")
    ping_s: float = Field(default=15.0, gt=0, description="Comment line on a quiet event stream.")

    # The model process
    max_batch: int = Field(default=8, gt=0, description="Clips in one forward pass.")
    batch_wait_ms: float = Field(
        default=5.0, ge=0, description="Wait for company once the queue is empty."
    )
    decode_children: int = Field(
        default=2, gt=0, description="Children that read media at one time."
    )
    decode_memory_bytes: int = Field(default=1200 * _MB, gt=0, description="Memory of one child.")
    decode_cpu_s: int = Field(default=600, gt=0, description="Processor time of one child.")
    decode_timeout_s: float = Field(default=600.0, gt=0, description="Time of one child.")
    decode_file_bytes: int = Field(
        default=4 * _GB, gt=0, description="Largest file a child may write."
    )
    model_ttl_s: float = Field(
        default=0.0, ge=0, description="Unload a model unused so long; 0: never."
    )
    pose: str = Field(
        default="",
        description="Finds skeletons for /v1/actions where none is sent: mediapipe; empty: none.",
    )
    head_ttl_s: float = Field(
        default=900.0, ge=0, description="Unload a recognition head unused so long; 0: never."
    )
    stand_in_ms: float = Field(
        default=0.0, ge=0, description="Load tests: sleep so long, no model."
    )

    # What goes out
    allow_webhooks: bool = Field(default=False, description="Whether jobs may name a webhook_url.")
    webhook_secret: SecretStr | None = Field(default=None, description="Key of the signatures.")
    webhook_timeout_s: float = Field(default=10.0, gt=0, description="Time of one delivery.")
    webhook_attempts: int = Field(default=5, gt=0, description="Tries of one delivery.")
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")
    metrics_need_key: bool = Field(
        default=False, description="Whether /metrics asks for an admin key."
    )

    @field_validator("bundle_dirs", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(filter(None, value.split(":"))) if isinstance(value, str) else value

    @field_validator("pose")
    @classmethod
    def _known_pose(cls, value: str) -> str:
        if value not in ("", "mediapipe"):
            raise ValueError("expected mediapipe or nothing")
        return value

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ValueError("expected DEBUG, INFO, WARNING or ERROR")
        return value.upper()


@lru_cache
def settings_from_environment() -> Settings:
    """The settings as the environment gives them, read once."""
    return Settings()
