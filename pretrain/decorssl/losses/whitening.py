"""Losses that whiten embeddings, or transform their spectrum in another way."""

from decorssl.losses.module import TeacherLoss, ViewsLoss
from decorssl.methods import cwrgp


class INTLLoss(ViewsLoss, method="intl"):
    """INTL: views whitened by IterNorm are pulled to the first, and a trace loss keeps their variances at 1.

    Two views or more; over the global batch. Weng et al., arXiv 2305.16789; docs/methods.md#intl.

        criterion = INTLLoss()
        loss = criterion(z1, z2)
    """


class INTLMLoss(TeacherLoss, method="intl_m"):
    """INTL with a momentum teacher: the student's views are pulled to the teacher's embedding of another one.

    `teacher` is the embedding of the first view alone, `student` those of all others. Over the global batch. Weng et
    al., arXiv 2305.16789; docs/methods.md#intl-m.

        criterion = INTLMLoss()
        loss = criterion(student=(z2, z3), teacher=t1)
        ...                                                # backward, the optimizer's step
        follow(teacher_network, network, criterion.momentum(Progress(step, steps_per_epoch, epochs)))
    """


class STLoss(ViewsLoss, method="st"):
    """ST: any function of the covariance's spectrum in INTL's loss; by default whitening.

    Two views or more; over the global batch. Weng et al., arXiv 2305.16789; docs/methods.md#st.

        criterion = STLoss(transform="power", power=0.45)
        loss = criterion(z1, z2)
    """


class CWRGPLoss(ViewsLoss, method="cwrgp"):
    """CW-RGP: samples whitened over random groups of channels, in sub-batches of `w_size`.

    Two views or more (four as published); over the images of a process. An embedding needs `groups` times `w_size`
    channels. `now` is needed with a `covariance_weight`. Weng et al., arXiv 2210.03586; docs/methods.md#cw-rgp.

        criterion = CWRGPLoss(w_size=64, groups=4)
        loss = criterion(z1, z2, z3, z4)
    """

    config: cwrgp.Config

    def needs_progress(self) -> bool:
        """With the covariance term, which ends at an epoch."""
        return self.config.covariance_weight > 0


class WMSELoss(ViewsLoss, method="wmse"):
    """W-MSE: channels whitened over sub-batches by Cholesky factors, then the distance of views.

    Two views or more; over the images of a process. `w_size` is twice the channels or more. Ermolov et al., arXiv
    2007.06346; docs/methods.md#w-mse.

        criterion = WMSELoss(w_size=128, w_iter=4)
        loss = criterion(z1, z2)
    """


class ZCALoss(ViewsLoss, method="zca"):
    """W-MSE with the symmetric root in place of the triangular one.

    Two views or more; over the images of a process. `w_size` is twice the channels or more. arXiv 2210.03586;
    docs/methods.md#zca.

        criterion = ZCALoss(w_size=128)
        loss = criterion(z1, z2)
    """


class DBNLoss(ViewsLoss, method="dbn"):
    """DBN and Shuffled-DBN: the squared distance of views whose channels are whitened group by group.

    Two views or more, all compared with the first; over the images of a process. Hua et al., arXiv 2105.00470;
    docs/methods.md#dbn.

        criterion = DBNLoss(shuffled=True)
        loss = criterion(z1, z2)
    """
