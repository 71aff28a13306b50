"""Many machines: Ray starts workers on them, and they drain one list of slides."""
