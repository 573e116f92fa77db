"""The training methods, one module each; its name is the value of `method` in a config, `METHOD` its class."""
