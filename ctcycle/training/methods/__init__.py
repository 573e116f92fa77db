"""The training methods, one per module: the module is named after `method` in the config, `METHOD` is the class."""
