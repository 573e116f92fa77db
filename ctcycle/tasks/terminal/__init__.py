"""What tasks and the command line say: standard streams, log files and crash reports."""
