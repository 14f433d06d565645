"""The estimators: a model, a criterion and a calibration behind one contract."""
