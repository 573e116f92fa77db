"""How generators are run: engines other than torch, and computing ahead of what is written."""
