"""T. Hua's SimSiam (PatrickHua/SimSiam): the backbone under two names; ImageNet's statistics on CIFAR too."""

from transferbench.checkpoints.formats import EncoderSpec, Layout

LAYOUTS = (
    Layout(
        (EncoderSpec("online", "backbone."), EncoderSpec("alias", "encoder.0.")),
        evidence=(r"backbone\.[\w.]+", r"projector\.layer1\.0\.weight", r"encoder\.[01]\.[\w.]+"),
        method="simsiam",
    ),
)
