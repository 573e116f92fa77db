"""Texture of each tissue: how much its density varies at each scale.

The levels are typical of CT: parenchyma varies a little at all scales, muscle and fat contain strands, lung contains
vessels and bronchi below the size of those drawn one by one, and marrow contains trabeculae.
"""

from ctcycle.simulation.blobs import Grain

LIVER = Grain(coarse=4.0, medium=4.0, fine=4.0)
SPLEEN = Grain(coarse=2.5, medium=3.0, fine=3.0)
KIDNEY = Grain(coarse=3.0, medium=6.0, fine=5.0)
GLAND = Grain(coarse=3.0, medium=8.0, fine=8.0)
MUSCLE = Grain(coarse=3.0, medium=6.0, fine=9.0)
FAT = Grain(coarse=3.0, medium=5.0, fine=7.0)
SKIN = Grain(fine=10.0)
WALL = Grain(coarse=3.0, medium=5.0, fine=5.0)
CHYME = Grain(coarse=5.0, medium=9.0, fine=9.0)
STOOL = Grain(coarse=10.0, medium=25.0, fine=25.0)
DISC = Grain(coarse=3.0, medium=4.0, fine=4.0)
BLOOD = Grain(coarse=1.5, medium=1.0)
LUNG = Grain(coarse=20.0, medium=35.0, fine=45.0)
MARROW = Grain(coarse=14.0, medium=14.0, fine=15.0, trabecular=45.0)
