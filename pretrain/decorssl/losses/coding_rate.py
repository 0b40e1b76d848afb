"""Losses that keep embeddings apart by a log-determinant: coding rates, and CorInfoMax's running covariance."""

from decorssl.losses.module import TeacherLoss, ViewsLoss


class EMPSSLLoss(ViewsLoss, method="emp_ssl"):
    """EMP-SSL: all patches of an image near their mean, and each patch's embeddings with the largest coding rate.

    Two views or more (20 to 200 as published), normalized here; over the global batch. The loss falls below zero. Tong
    et al., arXiv 2304.03977; docs/methods.md#emp-ssl.

        criterion = EMPSSLLoss()
        loss = criterion(*(network(patch) for patch in patches))
        criterion.terms["coding_rate"]  # and "invariance", both to be large
    """


class CorInfoMaxLoss(ViewsLoss, method="corinfomax"):
    """CorInfoMax: two views near each other, and a running covariance with the largest determinant.

    Two views, normalized here; over the global batch. The estimates of mean and covariance are part of the loss, in
    float64: `after_step` keeps those of the latest batch. Ozsoy et al., arXiv 2209.07999; docs/methods.md#corinfomax.

        criterion = CorInfoMaxLoss(dim=64)
        loss = criterion(z1, z2)
        ...                                                # backward, the optimizer's step
        criterion.after_step()
    """


class SimDINOLoss(TeacherLoss, method="simdino"):
    """SimDINO: the student's views near the teacher's other ones, and the global views with the largest coding rate.

    `student` are embeddings of all views, the two global crops first, `teacher` those of these two; all are normalized
    here. Over the global batch. Wu et al., arXiv 2502.10385; docs/methods.md#simdino.

        criterion = SimDINOLoss()
        loss = criterion(student=(z1, z2, z3), teacher=(t1, t2))
        ...                                                # backward, the optimizer's step
        follow(teacher_network, network, criterion.momentum(Progress(step, steps_per_epoch, epochs)))
    """
