"""Low dose where there is none: simulated patients, and noise inserted into real scans."""
