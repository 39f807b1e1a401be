"""What everything else uses: types and axes, errors, every option, the record of a shard, files, text, random keys."""
