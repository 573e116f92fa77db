"""The reference of configs, made from their schema: a page for readers and a JSON schema for editors."""
