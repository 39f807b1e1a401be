"""Numbers: matching, mAP, thresholds, protocols, bootstrap over subjects, the baselines."""
