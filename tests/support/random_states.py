"""The state of all global random generators, to check that code does not use them."""

import pickle
import random

import numpy as np
import torch
from monai.utils import get_seed


def random_states() -> bytes:
    """Return the states as bytes; they are equal before and after code that draws from no global generator."""
    numpy_state = np.random.get_state()  # noqa: NPY002 (the global one is what is watched)
    return pickle.dumps((random.getstate(), numpy_state, torch.get_rng_state().tolist(), get_seed()))
