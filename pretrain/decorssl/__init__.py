"""decorssl: pretraining with whitening and decorrelation losses."""

from transferbench import renamed

renamed.install()
