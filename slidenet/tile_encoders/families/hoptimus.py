"""H-optimus-0, H-optimus-1 and H0-mini (Bioptimus)."""

from slidenet.tile_encoders.spec import HubWeights, InputTransform, TileEncoderSpec

# The model cards take 224 px tiles at 0.5 mpp and resize nothing; other sizes are resized whole.
_TRANSFORM = InputTransform(mean=(0.707223, 0.578729, 0.703617), std=(0.211883, 0.230117, 0.177517))

SPECS = (
    TileEncoderSpec(
        name="h_optimus_0",
        architecture="vit_giant_patch14_reg4_dinov2",
        arguments={"img_size": 224},
        weights=HubWeights(
            "bioptimus/H-optimus-0",
            revision="b145cc1e6c6b30d3251aa8b1f844e6974188a743",
            filenames=("pytorch_model.bin",),
            gated=True,
        ),
        transform=_TRANSFORM,
        output_dim=1536,
        tile_size_px=224,
        licence="Apache-2.0",
        citation="Saillard et al. 2024, H-optimus-0, github.com/bioptimus/releases",
    ),
    TileEncoderSpec(
        name="h_optimus_1",
        architecture="vit_giant_patch14_reg4_dinov2",
        arguments={"img_size": 224},
        weights=HubWeights(
            "bioptimus/H-optimus-1",
            revision="3592cb220dec7a150c5d7813fb56e68bd57473b9",
            filenames=("pytorch_model.bin",),
            gated=True,
        ),
        transform=_TRANSFORM,
        output_dim=1536,
        tile_size_px=224,
        licence="CC-BY-NC-ND-4.0",
        citation="Bioptimus 2025, H-optimus-1, huggingface.co/bioptimus/H-optimus-1",
    ),
    TileEncoderSpec(
        name="h0_mini",
        architecture="vit_base_patch14_reg4_dinov2",
        arguments={
            "img_size": 224,
            "mlp_ratio": 5.33334,
            "mlp_layer": "SwiGLUPacked",
            "act_layer": "silu",
        },
        weights=HubWeights(
            "bioptimus/H0-mini", revision="5b5cc0505d19ae558270045eb0df8c34df4d9609", gated=True
        ),
        transform=_TRANSFORM,
        # The card offers the class token (768) and class + mean of patch tokens (1536).
        output_dim=768,
        tile_size_px=224,
        licence="CC-BY-NC-ND-4.0",
        citation="Filiot et al. 2025, Distilling foundation models (H0-mini), arXiv:2501.16239",
    ),
)
