"""Building blocks shared by the adversarial methods: losses, image pool, pasted noise, noise gain."""
