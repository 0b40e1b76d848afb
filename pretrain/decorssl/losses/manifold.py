"""Losses of manifold capacity: what the centroids of an image's views span."""

from decorssl.losses.module import TeacherLoss, ViewsLoss


class MMCRLoss(ViewsLoss, method="mmcr"):
    """MMCR: the nuclear norm of the images' centroids, to be large, and of each image's views, to be small.

    Two views or more, of any length; over the global batch, and a sum that grows with it. Yerxa et al., arXiv
    2303.03307; docs/methods.md#mmcr.

        criterion = MMCRLoss()
        loss = criterion(z1, z2)
        criterion.terms["centroid_norm"]  # and "local_norm", not yet weighted, where it has a weight
    """


class MMCRMLoss(TeacherLoss, method="mmcr_m"):
    """MMCR with a teacher, whose views count in the centroids as much as the student's.

    `student` and `teacher` are embeddings of the same two views or more. Over the global batch. Yerxa et al., arXiv
    2303.03307; docs/methods.md#mmcr-m.

        criterion = MMCRMLoss()
        loss = criterion(student=(z1, z2), teacher=(t1, t2))
        ...                                                # backward, the optimizer's step
        follow(teacher_network, network, criterion.momentum(Progress(step, steps_per_epoch, epochs)))
    """
