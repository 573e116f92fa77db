"""The data doctor: looks at folders of CT before training, and proposes how to train on them."""
