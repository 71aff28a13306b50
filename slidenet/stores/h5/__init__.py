"""h5 files of slidenet: safe opening, schema, attributes, identity, validation."""
