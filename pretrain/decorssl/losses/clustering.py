"""Losses that follow clusters which the backbone's features form by themselves."""

from decorssl.losses.module import TeacherLoss


class ReSALoss(TeacherLoss, method="resa"):
    """ReSA: the softmax of embeddings over the batch matches an assignment by the backbone's features.

    `student` are embeddings of all views, the weakly augmented one first, `teacher` those of the first two;
    `student_features` and `teacher_features` are what the backbones made of the same views, `n width`, and get no
    gradient: the first of each is looked at. The predictor is part of the loss: give the optimizer its `parameters()`
    too. Over the global batch. Weng et al., arXiv 2501.18452; docs/methods.md#resa.

        criterion = ReSALoss(dim=512)
        h1, h2 = backbone(view1), backbone(view2)          # t1, t2 and their features g1, g2 by the teacher
        loss = criterion((projector(h1), projector(h2)), (t1, t2), student_features=(h1, h2), teacher_features=(g1, g2))
        ...                                                # backward, the optimizer's step
        follow(teacher_network, network, criterion.momentum(Progress(step, steps_per_epoch, epochs)))
    """
