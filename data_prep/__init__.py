"""Videos with annotations to shards that ``fedn_jax`` trains on.

synthetic  the built-in data: drawn people and what they do
media      frames of files, folders of pictures, OpenFace's output
faces      finding and aligning faces
backbones  faces to features
sheets     annotations; ``sheets.datasets`` holds one file per released data set
shards     cache, TFDS shards, checks
"""
