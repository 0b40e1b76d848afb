"""Old names of modules and classes here, as in `transferbench.renamed`."""

MODULES = {
    "decorssl.findings": "decorssl.study_results",
    "decorssl.pictures": "decorssl.study_figures",
    "decorssl.substitutes": "decorssl.bad_images",
    "decorssl.supply": "decorssl.view_pipeline",
    "decorssl.update": "decorssl.optimizer",
}
"""Old module: new module."""

NAMES = {
    "decorssl.bad_images": {"Substitutes": "BadImageReplacer"},
    "decorssl.optimizer": {"Optim": "OptimizerSettings"},
    "decorssl.pairs": {"normalised_mse": "normalized_mse"},
    "decorssl.passes": {"InParts": "GradCache"},
    "decorssl.recipe": {"Target": "ExpectedScore"},
    "decorssl.session": {"Place": "RunOptions"},
    "decorssl.study_results": {"Column": "Measure", "Finding": "StudyResult"},
}
"""Module as it is called now: old name: new name."""
