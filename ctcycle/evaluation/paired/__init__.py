"""What the pair bench knows of a pair, and the sums and pictures that it keeps."""
