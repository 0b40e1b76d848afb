"""Losses of the baselines: contrastive ones, those with predictors and teachers, and those with prototypes."""

from decorssl.losses.module import TeacherLoss, ViewsLoss


class SimCLRLoss(ViewsLoss, method="simclr"):
    """SimCLR's NT-Xent: each embedding with its other view against the rest of the batch.

    Two views or more; over the global batch. Chen et al., arXiv 2002.05709; docs/methods.md#simclr.

        criterion = SimCLRLoss(temperature=0.2)
        loss = criterion(z1, z2)
    """


class BYOLLoss(TeacherLoss, method="byol"):
    """BYOL: a predictor, which is part of the loss, maps each view to the teacher's embedding of the others.

    `student` and `teacher` are embeddings of the same two views or more, in the same order; give the optimizer the
    loss's `parameters()` too. Over the global batch. Grill et al., arXiv 2006.07733; docs/methods.md#byol.

        criterion = BYOLLoss(dim=256)
        loss = criterion(student=(z1, z2), teacher=(t1, t2))
        ...                                                # backward, the optimizer's step
        follow(teacher_network, network, criterion.momentum(Progress(step, steps_per_epoch, epochs)))
    """


class SimSiamLoss(ViewsLoss, method="simsiam"):
    """SimSiam: a predictor, which is part of the loss, maps each view to the other's embedding without gradient.

    Two views, as the projector gives them; give the optimizer the loss's `parameters()` too. Over the global batch.
    Chen and He, arXiv 2011.10566; docs/methods.md#simsiam.

        criterion = SimSiamLoss(dim=2048)
        loss = criterion(z1, z2)
    """


class MoCoV2Loss(TeacherLoss, method="mocov2"):
    """MoCo v2: InfoNCE of a query with the teacher's key of its other view, against a queue of past keys.

    `student` is the query, the embedding of the first view, `teacher` the key, that of the second; with `symmetric`
    both are embeddings of both views. Over the global batch. `after_step` puts the keys into the queue, which begins
    with random directions. He et al., arXiv 1911.05722, Chen et al., arXiv 2003.04297; docs/methods.md#moco-v2.

        criterion = MoCoV2Loss(dim=128)
        loss = criterion(student=query, teacher=key)
        ...                                                # backward, the optimizer's step
        follow(teacher_network, network, criterion.momentum(Progress(step, steps_per_epoch, epochs)))
        criterion.after_step()
    """


class SwAVLoss(ViewsLoss, method="swav"):
    """SwAV: each view predicts the prototype assignments of the image's other views.

    Two views or more, of which the first two are assigned; prototypes are part of the loss: give the optimizer its
    `parameters()` too. Over the global batch. `now` is needed, and `after_step` brings prototypes back to length 1 and
    fills the queue. Caron et al., arXiv 2006.09882; docs/methods.md#swav.

        criterion = SwAVLoss(dim=128)
        loss = criterion(z1, z2, now=Progress(step, steps_per_epoch, epochs))
        ...                                                # backward, the optimizer's step
        criterion.after_step()
    """

    def needs_progress(self) -> bool:
        """Prototypes are frozen, and the queue is not used, in the first epochs."""
        return True


class DINOLoss(TeacherLoss, method="dino"):
    """DINO: the student's softmax over prototypes matches the teacher's, centered and sharpened, on other views.

    `student` are embeddings of all views, the two global crops first, `teacher` those of these two. The head's last
    layer, its momentum copy and the center are part of the loss: give the optimizer its `parameters()` too. Over the
    global batch. `now` is needed, and `after_step` moves copy and center. Caron et al., arXiv 2104.14294;
    docs/methods.md#dino.

        criterion, now = DINOLoss(dim=256), Progress(step, steps_per_epoch, epochs)
        loss = criterion(student=(z1, z2, z3), teacher=(t1, t2), now=now)
        ...                                                # backward, the optimizer's step
        follow(teacher_network, network, criterion.momentum(now))
        criterion.after_step()
    """

    def needs_progress(self) -> bool:
        """The last layer is frozen in the first epochs, and the teacher's temperature rises."""
        return True
