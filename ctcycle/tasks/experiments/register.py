"""The task `register`: logs a bundle to MLflow as a model, and registers it under a name."""

from pathlib import Path
from tempfile import TemporaryDirectory

from ctcycle.bundle.mlflow_model import write_mlflow_model
from ctcycle.config.shipped import located
from ctcycle.config.tasks.experiments import Register
from ctcycle.errors import BundleError, ConfigError
from ctcycle.runs.mlflow_store.registry import Registration, register_model
from ctcycle.runs.models import load_model
from ctcycle.runs.tracking import experiment_name, recorded_run, recorded_uri, tracking_uri
from ctcycle.tasks.job import Job


def run(config: Register, _job: Job) -> str:
    """Register the bundle, and return a summary with the command that serves it.

    Raises:
        BundleError: the folder is not a bundle, or the run was not tracked.
        ConfigError: tracking is switched off.
        OutputError: MLflow cannot be reached.
    """
    if not config.tracking.enabled:
        raise ConfigError("tracking.enabled=false: a model is registered in MLflow; remove the override")
    bundle = located(config.bundle)
    model = load_model(bundle, device="cpu")
    uri, run_id = _store(config)
    name = config.name or model.name
    plan = Registration(
        uri=uri,
        experiment=experiment_name(config.tracking),
        run_id=run_id,
        name=name,
        alias=config.alias,
        description=_description(bundle),
        digest=model.digest,
    )
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        write_mlflow_model(bundle, folder)
        version = register_model(folder, plan)
    named = f"models:/{name}@{config.alias}" if config.alias else f"models:/{name}/{version}"
    serve = f"MLFLOW_TRACKING_URI={uri} mlflow models serve -m {named} --env-manager local"
    return f"{bundle.resolve().name} registered as {name}, version {version}\n-> model={named}\n-> {serve}"


def _store(config: Register) -> tuple[str, str | None]:
    """Return the store, and the run there that the bundle was exported from."""
    if config.run is None:
        return tracking_uri(config.tracking, config.out), None
    uri = config.tracking.uri or recorded_uri(config.run)
    run_id = recorded_run(config.run, uri) if uri else None
    if uri is None or run_id is None:
        raise BundleError(f"{config.run}: was not tracked in MLflow; remove run=, or choose a run that was")
    return uri, run_id


def _description(bundle: Path) -> str:
    """Return the model card without its front matter, as far as MLflow takes it."""
    card = bundle / "docs" / "README.md"
    return card.read_text(encoding="utf-8")[:5000] if card.is_file() else ""
