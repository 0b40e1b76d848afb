"""decorssl: pretraining with whitening and decorrelation losses."""
