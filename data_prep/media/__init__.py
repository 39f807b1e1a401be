"""Frames: of video files, folders of pictures, OpenFace's output."""
