"""Real quarter-dose and full-dose slices, and their flat windows."""

import csv
from pathlib import Path

import numpy as np
import pydicom

from ctcycle.metrics.windows import cut_windows, flat_windows


def read_hu(path: Path) -> np.ndarray:
    """Read a slice in HU from DICOM or npy."""
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False).astype(float)
    dataset = pydicom.dcmread(path)
    return dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)


def real_patches(real_data: Path, kernel: str, patients: set[str]) -> tuple[np.ndarray, np.ndarray]:
    """Cut the flat windows, found in low dose, out of both doses of all pairs of a kernel and some patients."""
    with (real_data / "mayo2016_pairs" / "pairs.csv").open(encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["kernel"] == kernel and row["patient"] in patients]
    low, full = [], []
    for row in rows:
        low_hu, full_hu = read_hu(real_data / row["low_dose"]), read_hu(real_data / row["full_dose"])
        corners = flat_windows(low_hu)
        low.append(cut_windows(low_hu, corners))
        full.append(cut_windows(full_hu, corners))
    return np.concatenate(low), np.concatenate(full)
