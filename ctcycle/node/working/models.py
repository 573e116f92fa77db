"""The models of the rules, each loaded once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ctcycle.config.tasks.node import RuleSettings
from ctcycle.runs.models import Model, load_model


@dataclass
class Models:
    """Loads models.

    Attributes:
        device: where they run.
        locate: returns the folder of a model; given None, that of the default.
    """

    device: str
    locate: Callable[[Path | None], Path]
    _loaded: dict[tuple[Path | None, str | None], Model] = field(default_factory=dict, repr=False)

    def of(self, rule: RuleSettings) -> Model:
        """Return the model of a rule.

        Raises:
            BundleError: it cannot be loaded.
            ConfigError: the device is not available.
        """
        key = (rule.model, rule.checkpoint)
        if key not in self._loaded:
            self._loaded[key] = load_model(self.locate(rule.model), rule.checkpoint, self.device)
        return self._loaded[key]
