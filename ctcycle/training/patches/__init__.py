"""Training patches: reading the slices, drawing patches from them, and lesions drawn into them."""
