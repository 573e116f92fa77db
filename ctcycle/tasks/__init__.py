"""The tasks that a config can name: parts built from the config, run, and told of on the terminal."""
