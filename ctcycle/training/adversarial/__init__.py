"""Building blocks shared by the adversarial methods: losses, gradient penalty, image pool, pasted noise, noise gain."""
