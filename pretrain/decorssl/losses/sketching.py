"""Losses that look at embeddings along random directions, and pull them to a Gaussian there."""

from decorssl.losses.module import ViewsLoss


class LeJEPALoss(ViewsLoss, method="lejepa"):
    """LeJEPA: views pulled to the mean of the global ones, and embeddings to an isotropic Gaussian by SIGReg.

    Two views or more, the global crops first; over the global batch. Every process looks along the directions that the
    first one draws. Balestriero and LeCun, arXiv 2511.08544; docs/methods.md#lejepa.

        criterion = LeJEPALoss(weight=0.05, global_views=2)
        loss = criterion(z1, z2, z3, z4)
        criterion.terms["gaussianity"]  # and "invariance", not yet weighted
    """


class VISRegLoss(ViewsLoss, method="visreg"):
    """VISReg: views pulled to the mean of the global ones; centers, scales and shape of embeddings to a Gaussian's.

    Two views or more, the global crops first; over the global batch. Each process looks along directions of its own, as
    published: seed them differently. Wu et al., arXiv 2606.02572; docs/methods.md#visreg.

        criterion = VISRegLoss(weight=0.6)
        loss = criterion(z1, z2)
        criterion.terms["shape"]  # and "invariance", "scale", "center", not yet weighted
    """
