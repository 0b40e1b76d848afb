"""decorssl: pretraining with whitening and decorrelation losses."""

from decorssl.renamed import MODULES, NAMES
from transferbench import renamed

renamed.install(MODULES, NAMES)
