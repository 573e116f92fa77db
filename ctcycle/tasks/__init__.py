"""The tasks that a config can name: they build what the config describes, run it and report on the terminal."""
