"""Runs methods over slices once, feeds scores and benches, and reads again what the cache already has."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from ctcycle.evaluation.cache import ResultCache, code_digest
from ctcycle.evaluation.findings import StudyResult
from ctcycle.evaluation.methods.method import HUFilter, Method, digest_of
from ctcycle.evaluation.pairs import HUImage, HUPair, LowDoseSlice
from ctcycle.evaluation.results import SliceRecord
from ctcycle.evaluation.scoring import ScoreOptions, Scorer, in_order

SliceT_contra = TypeVar("SliceT_contra", bound=LowDoseSlice, contravariant=True)


class SliceStudy(Protocol[SliceT_contra]):
    """A study of one method, fed with every slice and its output, in order: series by series, ascending index.

    `SliceStudy[HUPair]` needs full dose; `SliceStudy[LowDoseSlice]` also works without. A study keeps sums rather than
    slices, so that memory stays bounded, and never changes the arrays that it is given.
    """

    def add(self, pair: SliceT_contra, output_hu: HUImage, /) -> None:
        """Add one slice.

        Args:
            pair: the slice.
            output_hu: (H, W) float32, what the method made of ``pair.low_hu``, in HU.
        """

    def result(self) -> StudyResult:
        """Return the findings; called once, after the last slice."""


class MethodBench(Protocol):
    """A bench with images of its own, such as the physics bench."""

    def study(self, name: str, denoise: HUFilter, /) -> StudyResult:
        """Study one method; ``name`` is its name in the results."""


@dataclass(frozen=True)
class SliceBench:
    """A bench that is fed with the slices of the evaluation and the outputs of a method.

    Attributes:
        name: its name in the config and the cache.
        settings: a text of all its settings.
        start: starts the study of a method; None if this method cannot be studied, such as one without a filter.
    """

    name: str
    settings: str
    start: Callable[[Method], SliceStudy[Any] | None]


@dataclass(frozen=True)
class OwnBench:
    """A bench with images of its own, for methods with a filter.

    Attributes:
        name: its name in the config and the cache.
        settings: a text of all its settings.
        study: studies a filter under a name.
    """

    name: str
    settings: str
    study: Callable[[str, HUFilter], StudyResult]


@dataclass
class MethodResult:
    """What was found about one method.

    Attributes:
        records: scores of every slice; empty without full dose.
        studies: what each bench found, by its name.
    """

    records: list[SliceRecord] = field(default_factory=list)
    studies: dict[str, StudyResult] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What is computed for every method.

    Attributes:
        options: how outputs are scored.
        slice_benches: benches fed with slices.
        own_benches: benches with images of their own.
        slices_digest: hash of the slices, from `pairs.slices_digest`.
        workers: number of threads.
    """

    options: ScoreOptions
    slice_benches: tuple[SliceBench, ...]
    own_benches: tuple[OwnBench, ...]
    slices_digest: str
    workers: int = 1

    def key(self, method: Method, part: str, *settings: object) -> str:
        """Return the cache key of a part of a method's results."""
        return digest_of(method.name, method.digest, part, self.slices_digest, code_digest(), *settings)

    def scores_key(self, method: Method) -> str:
        """Return the cache key of a method's scores."""
        return self.key(method, "scores", list(self.options.protocols), self.options.body_only)


@dataclass
class _Work:
    """The parts of a method's results that are still to be computed."""

    method: Method
    scores: bool
    studies: dict[str, SliceStudy[Any]]


def compare(
    slices: Callable[[], Iterable[LowDoseSlice]], methods: Sequence[Method], plan: Plan, cache: ResultCache
) -> dict[str, MethodResult]:
    """Return the results of every method by name, computing only what the cache does not have.

    Each output is computed once a slice, and given to the scores and to all studies in the order of the slices.

    Args:
        slices: gives the slices; called only if there is something to compute.
        methods: the methods, with different names.
        plan: what to compute.
        cache: where results are read and kept.

    Raises:
        SeriesError: a slice cannot be scored, or an output has another shape or values that are not finite.
        OutputError: the cache cannot be written.
    """
    found = {method.name: MethodResult() for method in methods}
    work = [_missing(method, plan, cache, found[method.name]) for method in methods]
    todo = [item for item in work if item.scores or item.studies]
    if todo:
        _one_pass(slices(), todo, plan, found)
    for item in todo:
        _keep(item, plan, cache, found[item.method.name])
    for method in methods:
        for bench in plan.own_benches:
            if method.denoise is not None:
                found[method.name].studies[bench.name] = _own(method, method.denoise, bench, cache)
    return found


def _missing(method: Method, plan: Plan, cache: ResultCache, result: MethodResult) -> _Work:
    """Read what the cache has into ``result``, and return the rest."""
    records = cache.read_records(plan.scores_key(method)) if plan.options.protocols else ()
    result.records = list(records or ())
    studies: dict[str, SliceStudy[Any]] = {}
    for bench in plan.slice_benches:
        known = cache.read_study(plan.key(method, bench.name, bench.settings))
        if known is not None:
            result.studies[bench.name] = known
        elif (study := bench.start(method)) is not None:
            studies[bench.name] = study
    return _Work(method, records is None, studies)


def _one_pass(
    slices: Iterable[LowDoseSlice], todo: Sequence[_Work], plan: Plan, found: dict[str, MethodResult]
) -> None:
    def one(item: LowDoseSlice) -> tuple[LowDoseSlice, list[HUImage], list[list[SliceRecord]]]:
        outputs = [work.method.output(item) for work in todo]
        return item, outputs, _scores(item, todo, outputs, plan.options)

    for item, outputs, records in in_order(one, slices, plan.workers):
        for work, output, scores in zip(todo, outputs, records, strict=True):
            found[work.method.name].records.extend(scores)
            for study in work.studies.values():
                study.add(item, output)


def _scores(
    item: LowDoseSlice, todo: Sequence[_Work], outputs: Sequence[HUImage], options: ScoreOptions
) -> list[list[SliceRecord]]:
    if not isinstance(item, HUPair) or not any(work.scores for work in todo):
        return [[] for _ in todo]
    scorer = Scorer(item, options)
    return [
        scorer.records(work.method.name, output) if work.scores else []
        for work, output in zip(todo, outputs, strict=True)
    ]


def _keep(work: _Work, plan: Plan, cache: ResultCache, result: MethodResult) -> None:
    if work.scores:
        cache.write_records(plan.scores_key(work.method), result.records)
    settings = {bench.name: bench.settings for bench in plan.slice_benches}
    for name, study in work.studies.items():
        result.studies[name] = study.result()
        cache.write_study(plan.key(work.method, name, settings[name]), result.studies[name])


def _own(method: Method, denoise: HUFilter, bench: OwnBench, cache: ResultCache) -> StudyResult:
    """Study a filter on the bench's own images; the result does not depend on the slices of the evaluation."""
    key = digest_of(method.name, method.digest, bench.name, bench.settings, code_digest())
    known = cache.read_study(key)
    if known is None:
        known = bench.study(method.name, denoise)
        cache.write_study(key, known)
    return known
