"""Floor 0: units, records, errors, registry, provenance. No torch, no input or output."""
