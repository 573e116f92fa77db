"""Code that runs inside a bundle; it is copied into the bundle with everything it imports."""
