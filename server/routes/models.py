"""Models: which there are, how they stand, loading and unloading."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from server.auth import Admin, User
from server.catalogue import HEAD_TASKS, LOADABLE, Model
from server.dependencies import Parts, Service
from server.errors import ApiError
from server.job_types import ModelState
from server.openapi import answer, problems
from server.schemas import ModelList, ModelView

router = APIRouter(prefix="/v1/models", tags=["models"])
_EXAMPLE = {
    "id": "avse-mmtm",
    "object": "model",
    "task": "enhancement",
    "status": "ready",
    "detail": "",
    "licence": "non-commercial research",
    "sample_rate": 16000,
    "scores": {},
    "is_default": True,
    "labels": [],
    "streams": [],
}
_LOADING_EXAMPLE = {**_EXAMPLE, "status": "loading"}
ModelId = Annotated[str, Path(examples=["avse-mmtm"])]


@router.get(
    "",
    summary="List models",
    response_model=ModelList,
    responses={200: answer({"object": "list", "items": [_EXAMPLE]}), **problems(422)},
)
def list_models(
    parts: Parts,
    _caller: User,
    task: Annotated[str | None, Query(max_length=50, examples=["enhancement"])] = None,
) -> ModelList:
    """Every model of this server, those of one task with `task=`."""
    states = parts.store.model_statuses()
    found = parts.catalogue.all(task)
    return ModelList(items=[_view(parts, model, states.get(model.id)) for model in found])


@router.get(
    "/{model_id}",
    summary="See a model",
    response_model=ModelView,
    responses={200: answer(_EXAMPLE), **problems(404, 422)},
)
def get_model(parts: Parts, _caller: User, model_id: ModelId) -> ModelView:
    """Its task, licence, scores, and whether it is loaded."""
    model = _known(parts, model_id)
    return _view(parts, model, parts.store.model_statuses().get(model_id))


@router.post(
    "/{model_id}/load",
    summary="Load a model",
    response_model=ModelView,
    responses={
        200: answer(_EXAMPLE, "It is ready already."),
        202: {**answer(_LOADING_EXAMPLE, "It is being loaded."), "model": ModelView},
        **problems(404, 409, 422, 503, 507),
    },
)
def load_model(parts: Parts, _caller: Admin, model_id: ModelId, response: Response) -> ModelView:
    """Ask the model process to load a model; needs the scope `admin`."""
    model = _loadable(parts, model_id)
    state = parts.store.model_statuses().get(model_id)
    parts.store.want_model(model_id, True)
    if state is None or state.status != "ready":
        response.status_code = 202
    return _view(parts, model, state)


@router.post(
    "/{model_id}/unload",
    summary="Unload a model",
    response_model=ModelView,
    responses={
        200: answer({**_EXAMPLE, "status": "available"}, "It is not loaded."),
        202: {**answer(_EXAMPLE, "It is being unloaded."), "model": ModelView},
        **problems(404, 409, 422, 503),
    },
)
def unload_model(parts: Parts, _caller: Admin, model_id: ModelId, response: Response) -> ModelView:
    """Ask the model process to give its memory back; the next job loads it again."""
    model = _loadable(parts, model_id)
    state = parts.store.model_statuses().get(model_id)
    parts.store.want_model(model_id, False)
    if state is not None and state.status in ("ready", "loading"):
        response.status_code = 202
    return _view(parts, model, state)


def _known(service: Service, model_id: str) -> Model:
    model = service.catalogue.find(model_id)
    if model is None:
        raise ApiError("model_not_found", "there is no model of this name", param="model_id")
    return model


def _loadable(service: Service, model_id: str) -> Model:
    model = _known(service, model_id)
    if model.task not in LOADABLE:
        raise ApiError("conflict", "this model is always loaded, by those who read the media")
    if service.drain.is_draining:
        raise ApiError("draining", "the service is about to restart; try again soon")
    return model


def _view(service: Service, model: Model, state: ModelState | None) -> ModelView:
    heads = [service.catalogue.head(kind) for kind in HEAD_TASKS]
    return ModelView(
        id=model.id,
        task=model.task,
        status="available" if state is None else state.status,
        detail="" if state is None else state.detail,
        licence=model.licence,
        sample_rate=model.sample_rate_hz,
        scores=model.scores,
        is_default=model.id == service.catalogue.default_id or model in heads,
        labels=list(model.labels),
        streams=list(model.streams),
    )
