"""How a training runs fast on its device: memory layout, precision, compiled and recomputed networks."""
