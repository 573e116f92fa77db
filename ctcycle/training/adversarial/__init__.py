"""What adversarial methods share: losses on logits, a history of generated images, pasted noise, the noise gain."""
