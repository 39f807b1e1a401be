"""Pure functions on a window or a video: intervals, windows, anchors, targets, losses, suppression (NMS)."""
