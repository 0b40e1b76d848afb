"""Losses that decorrelate channels or samples by a penalty, and those that are known to collapse."""

from decorssl.losses.module import ViewsLoss


class BarlowTwinsLoss(ViewsLoss, method="barlow_twins"):
    """Barlow Twins: the cross-correlation of two views pulled towards the identity.

    Two views; over the global batch. Zbontar et al., arXiv 2103.03230; docs/methods.md#barlow-twins.

        criterion = BarlowTwinsLoss()
        loss = criterion(z1, z2)
        criterion.terms["on_diagonal"]  # and "off_diagonal", not yet weighted
    """


class VICRegLoss(ViewsLoss, method="vicreg"):
    """VICReg: variance, invariance and covariance of two views.

    Two views; over the global batch. Bardes et al., arXiv 2105.04906; docs/methods.md#vicreg.

        criterion = VICRegLoss()
        loss = criterion(z1, z2)
        criterion.terms["covariance"]  # and "invariance", "variance", not yet weighted
    """


class ZeroICLLoss(ViewsLoss, method="zero_icl"):
    """Zero-ICL: samples whitened over their channels, each pulled towards its other view.

    Two views; over the global batch. Zhang et al., Zero-CL (ICLR 2022); docs/methods.md#zero-icl.

        criterion = ZeroICLLoss()
        loss = criterion(z1, z2)
    """


class PlainLoss(ViewsLoss, method="plain"):
    """The distance of views and nothing else, which collapses to a point.

    Two views or more; over the global batch. docs/methods.md#plain.

        criterion = PlainLoss()
        loss = criterion(z1, z2)
    """


class BatchNormLoss(ViewsLoss, method="batchnorm"):
    """The distance of views standardized over sub-batches, which collapses to few dimensions.

    Two views or more; over the images of a process. arXiv 2210.03586; docs/methods.md#bn.

        criterion = BatchNormLoss(w_size=64)
        loss = criterion(z1, z2)
    """


class PCALoss(ViewsLoss, method="pca"):
    """The distance of views whitened onto the axes of each, which collapses to few dimensions.

    Two views or more; over the images of a process. `w_size` is more than the channels. arXiv 2210.03586;
    docs/methods.md#pca.

        criterion = PCALoss(w_size=128)
        loss = criterion(z1, z2)
    """
