"""The registries of the judge: which folder holds which kind of plugin, and what such a file defines."""

from transferbench.plugins import Registry

TASKS = Registry("transferbench.tasks", "task", ("VERSION", "FROZEN", "PRIMARY", "Config", "label", "run"))
FORMATS = Registry("transferbench.checkpoints.formats", "checkpoint format", ("LAYOUTS",))
LIBRARIES = Registry("transferbench.checkpoints.downloads", "library")
TARGETS = Registry("transferbench.checkpoints.targets", "target")
SOURCES = Registry("transferbench.data.sources", "data set", ("open_split",))
FAMILIES = Registry(
    "transferbench.backbones", "backbone family", ("Arguments", "build", "propose", "describe", "assumptions")
)
