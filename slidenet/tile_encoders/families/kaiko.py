"""The five kaiko.ai backbones and Midnight-12k."""

from collections.abc import Mapping

from slidenet.tile_encoders.spec import (
    HALF,
    ArchitectureArgument,
    HubWeights,
    InputTransform,
    TileEncoderSpec,
)

# v2.Resize(224) of the authors' example, whose default filter is bilinear.
_TRANSFORM = InputTransform(interpolation="bilinear", mean=HALF, std=HALF)


def _kaiko(
    name: str,
    architecture: str,
    output_dim: int,
    arguments: Mapping[str, ArchitectureArgument] | None = None,
) -> TileEncoderSpec:
    # The authors publish files on GitHub; 1aurent's repositories hold the same weights.
    repo_id = f"1aurent/{architecture}.kaiko_ai_towards_large_pathology_fms"
    return TileEncoderSpec(
        name=name,
        architecture=architecture,
        arguments=arguments or {},
        weights=HubWeights(repo_id),
        transform=_TRANSFORM,
        output_dim=output_dim,
        precision="fp32",
        licence="Kaiko non-commercial public licence",
        citation="kaiko.ai et al. 2024, Large-scale pathology FMs, arXiv:2404.15217",
    )


SPECS = (
    _kaiko("kaiko_vits8", "vit_small_patch8_224", 384),
    _kaiko("kaiko_vits16", "vit_small_patch16_224", 384),
    _kaiko("kaiko_vitb8", "vit_base_patch8_224", 768),
    _kaiko("kaiko_vitb16", "vit_base_patch16_224", 768),
    # Position table of 518 px, interpolated to 224 px inputs as its authors do.
    _kaiko("kaiko_vitl14", "vit_large_patch14_reg4_dinov2", 1024, {"dynamic_img_size": True}),
    TileEncoderSpec(
        name="midnight_12k",
        architecture="vit_giant_patch14_dinov2",
        arguments={"img_size": 224},
        weights=HubWeights(
            "kaiko-ai/midnight",
            revision="adc6b15679c981cce6f9b018bbad09d16eeeda9f",
            filenames=("model.safetensors",),
        ),
        transform=_TRANSFORM,
        output_dim=3072,
        pooling="class_patch_mean",
        tile_size_px=224,
        licence="MIT",
        citation="Karasikov et al. 2025, Midnight, arXiv:2504.05186",
    ),
)
