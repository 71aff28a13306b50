"""The LongNet slide encoder: model, block, positions, shapes, weights."""
