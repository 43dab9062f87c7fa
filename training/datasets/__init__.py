"""Other people's data: the published test sets, and motion capture files. See docs/datasets.md."""
