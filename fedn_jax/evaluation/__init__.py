"""Numbers: matching, mAP, thresholds, protocols, bootstrap over subjects, the motion baseline."""
