"""What was found, as text for the terminal, as CSV and as an HTML page."""
