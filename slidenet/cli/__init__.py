"""Floor 8: the commands. Typed signatures of `pipelines` become flags and YAML."""
