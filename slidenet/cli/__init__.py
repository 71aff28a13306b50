"""Floor 7: the commands. Typed signatures of `pipelines` become flags and YAML."""
