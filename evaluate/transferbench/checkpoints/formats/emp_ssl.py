"""EMP-SSL (tsb0601/EMP-SSL): a flat file of backbone, `pre_feature` and projection."""

from transferbench.checkpoints.formats import EncoderSpec, Layout

LAYOUTS = (
    Layout(
        (EncoderSpec("online", "backbone."),),
        evidence=(r"backbone\.[\w.]+", r"pre_feature\.0\.weight", r"projection\.0\.weight"),
        method="emp_ssl",
    ),
)
