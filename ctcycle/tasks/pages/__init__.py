"""Tasks that make pages to look at."""
