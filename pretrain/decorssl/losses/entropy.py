"""Losses that raise an entropy of covariance matrices."""

from decorssl.losses.module import TeacherLoss, ViewsLoss


class FroSSLLoss(ViewsLoss, method="frossl"):
    """FroSSL: views aligned with their mean, and the covariance of each with the smallest Frobenius norm.

    Two views or more; over the images of a process. Skean et al., arXiv 2310.02903; docs/methods.md#frossl.

        criterion = FroSSLLoss()
        loss = criterion(z1, z2)
        criterion.terms["entropy"]  # and "invariance", not yet weighted
    """


class MECLoss(TeacherLoss, method="mec"):
    """MEC: the coding length of a predictor's embeddings, which is part of the loss, with the teacher's of other views.

    `student` and `teacher` are embeddings of the same two views or more, in the same order; give the optimizer the
    loss's `parameters()` too. Over the global batch. `now` is needed. Liu et al., arXiv 2210.11464;
    docs/methods.md#mec.

        criterion, now = MECLoss(dim=2048), Progress(step, steps_per_epoch, epochs)
        loss = criterion(student=(z1, z2), teacher=(t1, t2), now=now)
        ...                                                # backward, the optimizer's step
        follow(teacher_network, network, criterion.momentum(now))
    """

    def needs_progress(self) -> bool:
        """The weight of the coding length's higher terms rises in the first epochs."""
        return True


class MatrixSSLLoss(TeacherLoss, method="matrix_ssl"):
    """Matrix-SSL: matrix cross-entropies of a predictor's embeddings, which is part of the loss, with the teacher's.

    `student` and `teacher` are embeddings of the same two views or more, in the same order; give the optimizer the
    loss's `parameters()` too. Over the global batch. Zhang et al., arXiv 2305.17326; docs/methods.md#matrix-ssl.

        criterion = MatrixSSLLoss(dim=2048)
        loss = criterion(student=(z1, z2), teacher=(t1, t2))
        ...                                                # backward, the optimizer's step
        follow(teacher_network, network, criterion.momentum(Progress(step, steps_per_epoch, epochs)))
        criterion.terms["alignment"]  # and "uniformity", not yet weighted
    """
