"""Chooses the values of trials: all combinations, or draws by Optuna; and decides which trials end early."""

from collections.abc import Mapping, Sequence
from itertools import islice, product
from typing import TYPE_CHECKING, Any

from ctcycle.config.tasks.experiments import Prune, Range, Sweep, Varied
from ctcycle.errors import ConfigError
from ctcycle.tasks.experiments.trials import Trial, Values

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


def planned(config: Sweep) -> list[Values] | None:
    """Return the values of all trials in order; None if they are drawn one after the other."""
    if config.search == "optuna":
        return None
    lists = [values for values in config.vary.values() if not isinstance(values, Range)]
    combinations = (dict(zip(config.vary, values, strict=True)) for values in product(*lists))
    return list(islice(combinations, config.trials))


def count(config: Sweep) -> int:
    """Return the number of trials."""
    every = planned(config)
    return (config.trials or 0) if every is None else len(every)


def draw(config: Sweep, earlier: Sequence[Trial]) -> Values:
    """Return the values of the next trial, from those of all earlier ones and the seed.

    Raises:
        ConfigError: Optuna is not installed.
    """
    study = _study(config, earlier, seed=config.seed + len(earlier))
    spaces = {key: _distribution(values) for key, values in config.vary.items()}
    found = study.ask(spaces).params
    return {key: _value(config.vary[key], found[key]) for key in config.vary}


def is_behind(config: Sweep, earlier: Sequence[Trial], running: Trial) -> bool:
    """Return whether a trial that is being trained has a score below the median of the others at this epoch.

    Raises:
        ConfigError: Optuna is not installed.
    """
    if not running.curve:
        return False
    study = _study(config, earlier, seed=config.seed)
    trial = study.ask()
    for epoch in sorted(running.curve):
        trial.report(running.merit_at(epoch), epoch)
    return bool(trial.should_prune())


def check_optuna() -> None:
    """Check that Optuna is installed.

    Raises:
        ConfigError: it is not.
    """
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise ConfigError(
            "search=optuna and prune.enabled=true need the package optuna; pip install optuna, or use search=grid "
            "prune.enabled=false"
        ) from None


def _study(config: Sweep, earlier: Sequence[Trial], seed: int) -> "Study":
    check_optuna()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(10, max(3, (config.trials or 10) // 3))),
        pruner=_pruner(config.prune),
        direction="maximize",
    )
    study.add_trials([_frozen(config.vary, trial) for trial in earlier])
    return study


def _pruner(prune: Prune) -> Any:
    import optuna

    return optuna.pruners.MedianPruner(n_startup_trials=prune.trials, n_warmup_steps=prune.epochs)


def _frozen(vary: Mapping[str, Varied], trial: Trial) -> "FrozenTrial":
    """Return a trial as Optuna keeps it; one that has no score failed."""
    import optuna
    from optuna.trial import TrialState

    states = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    state = states.get(trial.state, TrialState.FAIL) if trial.merit is not None else TrialState.FAIL
    spaces = {key: _distribution(values) for key, values in vary.items()}
    same = state != TrialState.FAIL
    return optuna.trial.create_trial(
        state=state,
        value=trial.merit if same else None,
        params={key: _param(vary[key], trial.values[key]) for key in spaces},
        distributions=spaces,
        intermediate_values={epoch: trial.merit_at(epoch) for epoch in trial.curve},
    )


def _distribution(values: Varied) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(values, Range):
        return CategoricalDistribution(list(range(len(values))))
    if values.whole:
        return IntDistribution(int(values.low), int(values.high), log=values.log, step=int(values.step or 1))
    return FloatDistribution(values.low, values.high, log=values.log, step=values.step)


def _value(values: Varied, drawn: Any) -> Any:
    return drawn if isinstance(values, Range) else values[int(drawn)]


def _param(values: Varied, value: Any) -> Any:
    return value if isinstance(values, Range) else list(values).index(value)
