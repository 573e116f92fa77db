"""Lesions are shared out evenly over sites and passes."""

from collections import Counter

import pytest

from ctcycle.evaluation.inserted.passes import lesion_passes
from ctcycle.metrics.lesions.insertion import LESIONS


def by_site(plan: list[list[tuple]]) -> list[list]:
    return [[lesions[site] for lesions in passes] for passes in plan for site in range(len(passes[0]))]


@pytest.mark.parametrize("sites", [[16] * 16, [4, 7, 1, 12, 5, 6, 9, 2], [8, 8, 8, 8]])
def test_every_lesion_is_inserted_equally_often_and_at_most_once_at_a_site(sites: list[int]) -> None:
    plan = lesion_passes(sites, 16)
    counts = Counter(lesion for site in by_site(plan) for lesion in site)
    assert set(counts) == set(LESIONS)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert min(counts.values()) >= 16
    assert all(len(set(site)) == len(site) for site in by_site(plan))


def test_with_few_passes_a_site_gets_one_sign_of_a_lesion() -> None:
    """Responses to both signs at one site are nearly the same, so they count as little more than one."""
    for site in by_site(lesion_passes([16, 20], 16)):
        assert len(site) == 9
        assert len({(lesion.radius_mm, abs(lesion.contrast_hu)) for lesion in site}) == 9


def test_no_more_passes_than_needed() -> None:
    assert [len(lesion_passes([sites], 16)[0]) for sites in (304, 303, 152, 100, 16, 3)] == [1, 2, 2, 4, 19, 19]


def test_few_sites_get_every_lesion() -> None:
    assert all(set(site) == set(LESIONS) for site in by_site(lesion_passes([2, 1], 16)))


def test_a_pass_mixes_sizes_contrasts_and_signs() -> None:
    for lesions in lesion_passes([12, 12, 12], 16)[0]:
        assert {lesion.radius_mm for lesion in lesions} >= {1.5, 3.0, 5.0}
        assert {abs(lesion.contrast_hu) for lesion in lesions} >= {10.0, 20.0, 40.0}
        assert {lesion.contrast_hu > 0 for lesion in lesions} == {True, False}
