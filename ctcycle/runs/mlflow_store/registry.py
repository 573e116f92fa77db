"""Logs an MLflow model to a store, and registers it under a name."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ctcycle.errors import CtcycleError, OutputError
from ctcycle.runs.mlflow_store.connection import artifacts_of, connect, default_store
from ctcycle.runs.refusals import first_line, refusal

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Registration:
    """Where a model goes.

    Attributes:
        uri: the tracking URI of the store.
        experiment: the experiment, if there is no run.
        run_id: the MLflow run that made the model; None if it is not tracked there.
        name: the name of the registered model.
        alias: an alias that is moved to the new version; None for none.
        description: of the version, in Markdown.
        digest: SHA-256 of the weights, a tag of the version.
    """

    uri: str
    experiment: str
    run_id: str | None
    name: str
    alias: str | None
    description: str
    digest: str


def register_model(folder: Path, plan: Registration) -> str:
    """Log the MLflow model in ``folder`` and register it as a new version; the same weights are registered only once.

    Args:
        folder: from `ctcycle.bundle.mlflow_model.write_mlflow_model`; its ``MLmodel`` gets the IDs of model and run.
        plan: where it goes.

    Returns:
        The version.

    Raises:
        OutputError: the store cannot be reached, or refuses the model.
    """
    try:
        with default_store(plan.uri):
            client = connect(plan.uri)
            version = _same_version(client, plan) or _new_version(client, folder, plan)
            if plan.alias is not None:
                client.set_registered_model_alias(plan.name, plan.alias, version)
    except CtcycleError:
        raise
    except Exception as error:  # MLflow and its servers can raise almost anything
        reason = refusal(error) or first_line(error)
        raise OutputError(
            f"MLflow at {plan.uri}: cannot register {plan.name} ({reason}); run the command again when this is mended"
        ) from error
    return version


def _same_version(client: "MlflowClient", plan: Registration) -> str | None:
    """Return the latest version with the same weights; None if there is none."""
    found = client.search_model_versions(f"name = '{plan.name}'")
    same = [int(one.version) for one in found if one.tags.get("weights_sha256") == plan.digest]
    return str(max(same)) if same else None


def _new_version(client: "MlflowClient", folder: Path, plan: Registration) -> str:
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    if plan.run_id is not None:
        experiment = client.get_run(plan.run_id).info.experiment_id
    else:
        known = client.get_experiment_by_name(plan.experiment)
        experiment = known.experiment_id if known else client.create_experiment(plan.experiment, artifacts_of(plan.uri))
    logged = client.create_logged_model(experiment, plan.name, plan.run_id, model_type="ct_denoiser")
    model = Model.load(str(folder))
    model.model_id, model.run_id, model.artifact_path = logged.model_id, plan.run_id, logged.artifact_location
    model.save(str(folder / "MLmodel"))
    client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, "READY")
    if plan.run_id is not None:
        client.log_outputs(plan.run_id, [LoggedModelOutput(logged.model_id, step=0)])
    _ensure_name(client, plan.name)
    made = client.create_model_version(
        plan.name,
        f"models:/{logged.model_id}",
        plan.run_id,
        tags={"weights_sha256": plan.digest},
        description=plan.description,
        model_id=logged.model_id,
    )
    return str(made.version)


def _ensure_name(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description="Low-dose CT denoiser: slices in HU in, denoised slices out.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
