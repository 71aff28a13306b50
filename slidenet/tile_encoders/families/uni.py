"""UNI and UNI2-h (Mahmood Lab)."""

from slidenet.tile_encoders.spec import HubWeights, InputTransform, TileEncoderSpec

# The configuration beside the weights asks for bilinear resizing of the whole tile.
_TRANSFORM = InputTransform(interpolation="bilinear")
_CITATION = "Chen et al. 2024, General-purpose foundation model, doi:10.1038/s41591-024-02857-3"

SPECS = (
    TileEncoderSpec(
        name="uni",
        architecture="vit_large_patch16_224",
        arguments={"img_size": 224, "init_values": 1e-5},
        weights=HubWeights(
            "MahmoodLab/UNI",
            revision="b55a5ec6cade1a39edfe6534189a9b8ca7a022f0",
            filenames=("pytorch_model.bin",),
            gated=True,
        ),
        transform=_TRANSFORM,
        output_dim=1024,
        licence="CC-BY-NC-ND-4.0",
        citation=_CITATION,
    ),
    TileEncoderSpec(
        name="uni2_h",
        architecture="vit_giant_patch14_224",
        arguments={
            "img_size": 224,
            "depth": 24,
            "num_heads": 24,
            "embed_dim": 1536,
            "mlp_ratio": 5.33334,
            "mlp_layer": "SwiGLUPacked",
            "act_layer": "silu",
            "init_values": 1e-5,
            "no_embed_class": True,
            "reg_tokens": 8,
        },
        weights=HubWeights(
            "MahmoodLab/UNI2-h",
            revision="d517a8dd47902dd7c308b3c36f63bce47e7b9a43",
            filenames=("pytorch_model.bin",),
            gated=True,
        ),
        transform=_TRANSFORM,
        output_dim=1536,
        precision="bf16",
        licence="CC-BY-NC-ND-4.0",
        citation=_CITATION,
    ),
)
