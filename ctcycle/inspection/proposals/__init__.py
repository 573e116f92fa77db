"""How to train on what was found: method, split, and configs that run as they are."""
