"""The state of every global random generator, so that a test can say that it was left alone."""

import pickle
import random

import numpy as np
import torch
from monai.utils import get_seed


def random_states() -> bytes:
    """Equal before and after whatever draws nothing from a global generator."""
    numpy_state = np.random.get_state()  # noqa: NPY002 (the global one is what is watched)
    return pickle.dumps((random.getstate(), numpy_state, torch.get_rng_state().tolist(), get_seed()))
