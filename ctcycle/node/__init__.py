"""A DICOM node: receives CT series, denoises them and sends the results; its queue on disk survives kills."""
