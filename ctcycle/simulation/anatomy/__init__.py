"""The organs of an abdomen as blobs, scaled to the patient's build."""
