"""Virchow and Virchow2 (Paige). Features are class token and mean of patch tokens, 2 x 1280."""

from slidenet.tile_encoders.spec import ArchitectureArgument, HubWeights, TileEncoderSpec

_ARGUMENTS: dict[str, ArchitectureArgument] = {
    "img_size": 224,
    "init_values": 1e-5,
    "mlp_ratio": 5.3375,
    "mlp_layer": "SwiGLUPacked",
    "act_layer": "silu",
}

SPECS = (
    TileEncoderSpec(
        name="virchow",
        architecture="vit_huge_patch14_224",
        arguments=_ARGUMENTS,
        weights=HubWeights(
            "paige-ai/Virchow", revision="19eebc84ae33e79f1b2d866e6ff90ae50e522f9a", gated=True
        ),
        output_dim=2560,
        pooling="class_patch_mean",
        tile_size_px=224,
        licence="Apache-2.0",
        citation="Vorontsov et al. 2024, Virchow, doi:10.1038/s41591-024-03141-0",
    ),
    TileEncoderSpec(
        name="virchow2",
        architecture="vit_huge_patch14_224",
        arguments=_ARGUMENTS | {"reg_tokens": 4},
        weights=HubWeights(
            "paige-ai/Virchow2", revision="3158645804b69e3f3bc4439d4116edddf0840a72", gated=True
        ),
        output_dim=2560,
        pooling="class_patch_mean",
        tile_size_px=224,
        licence="CC-BY-NC-ND-4.0",
        citation="Zimmermann et al. 2024, Virchow2, arXiv:2408.00738",
    ),
)
