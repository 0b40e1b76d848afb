"""The methods' losses as modules, for a training loop of one's own.

`INTLLoss()(z1, z2)` is the loss of two views' embeddings, by the function that `pretrain intl` calls. `Loss` says
what all have in common: shapes, precision, processes. A constructor takes the settings that `pretrain show METHOD`
lists.

In plain torch:

    criterion = INTLLoss()
    optimizer = torch.optim.SGD([*network.parameters(), *criterion.parameters()], lr=0.1)
    for view1, view2 in batches:
        optimizer.zero_grad()
        criterion(network(view1), network(view2)).backward()
        optimizer.step()

In Lightning, inside a LightningModule that has `self.network` and `self.criterion = INTLLoss()`:

    def training_step(self, batch, index):
        view1, view2 = batch
        loss = self.criterion(self.network(view1), self.network(view2))
        self.log_dict({"loss": loss, **self.criterion.terms})
        return loss

With lightly, whose transforms give a list of views:

    dataset = LightlyDataset("my-images", transform=BYOLTransform())
    for views, _, _ in DataLoader(dataset, batch_size=256, shuffle=True, drop_last=True):
        optimizer.zero_grad()
        criterion(*(network(view) for view in views)).backward()
        optimizer.step()

Whitening by itself is in the layers `IterNorm`, `ZCA`, `Cholesky`, `GroupWhitening` and `DBN`; `W2Uniformity` is a term
to add to any loss.

A teacher is a copy of the network (`copy.deepcopy`) that no optimizer has; `follow` moves it after each step.
"""

from types import new_class

from decorssl.losses.baselines import BYOLLoss, DINOLoss, MoCoV2Loss, SimCLRLoss, SimSiamLoss, SwAVLoss
from decorssl.losses.clustering import ReSALoss
from decorssl.losses.coding_rate import CorInfoMaxLoss, EMPSSLLoss, SimDINOLoss
from decorssl.losses.decorrelation import (
    BarlowTwinsLoss,
    BatchNormLoss,
    PCALoss,
    PlainLoss,
    VICRegLoss,
    ZeroICLLoss,
)
from decorssl.losses.entropy import FroSSLLoss, MatrixSSLLoss, MECLoss
from decorssl.losses.layers import DBN, ZCA, Cholesky, GroupWhitening, IterNorm
from decorssl.losses.manifold import MMCRLoss, MMCRMLoss
from decorssl.losses.module import Loss, TeacherLoss, ViewsLoss
from decorssl.losses.progress import Progress
from decorssl.losses.sketching import LeJEPALoss, VISRegLoss
from decorssl.losses.uniformity import W2Uniformity
from decorssl.losses.whitening import CWRGPLoss, DBNLoss, INTLLoss, INTLMLoss, STLoss, WMSELoss, ZCALoss
from decorssl.methods import METHODS, Taught
from decorssl.teacher import follow

__all__ = [
    "DBN",
    "ZCA",
    "BYOLLoss",
    "BarlowTwinsLoss",
    "BatchNormLoss",
    "CWRGPLoss",
    "Cholesky",
    "CorInfoMaxLoss",
    "DBNLoss",
    "DINOLoss",
    "EMPSSLLoss",
    "FroSSLLoss",
    "GroupWhitening",
    "INTLLoss",
    "INTLMLoss",
    "IterNorm",
    "LeJEPALoss",
    "Loss",
    "MECLoss",
    "MMCRLoss",
    "MMCRMLoss",
    "MatrixSSLLoss",
    "MoCoV2Loss",
    "PCALoss",
    "PlainLoss",
    "Progress",
    "ReSALoss",
    "STLoss",
    "SimCLRLoss",
    "SimDINOLoss",
    "SimSiamLoss",
    "SwAVLoss",
    "TeacherLoss",
    "VICRegLoss",
    "VISRegLoss",
    "ViewsLoss",
    "W2Uniformity",
    "WMSELoss",
    "ZCALoss",
    "ZeroICLLoss",
    "follow",
    "loss_of",
]


def loss_of(method: str) -> type[ViewsLoss] | type[TeacherLoss]:
    """The class of a method: one of those here, or one made for a method from elsewhere.

    Args:
        method: a method's name, or a plugin's: `package.module` or `path/file.py`.

    Raises:
        UserError: when there is no such method.
    """
    module = METHODS.load(method)
    for kind in (ViewsLoss, TeacherLoss):
        for known in kind.__subclasses__():
            if known.method is module:
                return known
    kind = TeacherLoss if isinstance(module, Taught) else ViewsLoss
    return new_class(f"Loss of {method}", (kind,), {"method": method}, lambda body: body.update(__doc__=module.__doc__))
