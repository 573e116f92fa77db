"""What runs inside of a bundle; copied into it, with all that it imports."""
