import pytest
import torch

from ctcycle.errors import BundleError
from ctcycle.inference.weights import check_finite


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_one_weight_that_is_not_finite_is_named(bad: float, dtype: torch.dtype) -> None:
    weights = {"a": torch.zeros(3, dtype=dtype), "b.c": torch.tensor([0.0, bad], dtype=dtype)}
    with pytest.raises(BundleError, match=r"NaN or infinity \(in b\.c\)") as error:
        check_finite(weights)
    assert error.value.exit_code == 4


def test_finite_weights_counters_and_other_values_pass() -> None:
    check_finite({"a": torch.tensor([-1e30, 1e30]), "count": torch.tensor(3), "name": "x", "none": None})
