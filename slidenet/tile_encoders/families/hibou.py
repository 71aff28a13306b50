"""Hibou-B and Hibou-L (HistAI), DINOv2 with registers in the layout of transformers."""

from slidenet.tile_encoders.spec import HubWeights, InputTransform, TileEncoderSpec

_TRANSFORM = InputTransform(mean=(0.7068, 0.5755, 0.722), std=(0.195, 0.2316, 0.1816))
_CITATION = "Nechaev et al. 2024, Hibou, arXiv:2406.05074"

SPECS = (
    TileEncoderSpec(
        name="hibou_b",
        architecture="vit_base_patch14_reg4_dinov2",
        arguments={
            "img_size": 224,
            "mlp_ratio": 5.33334,  # 2 x 2048 packed hidden units
            "mlp_layer": "SwiGLUPacked",
            "act_layer": "silu",
        },
        weights=HubWeights("histai/hibou-b", gated=True),
        transform=_TRANSFORM,
        output_dim=768,
        tile_size_px=224,
        licence="Apache-2.0",
        citation=_CITATION,
    ),
    TileEncoderSpec(
        name="hibou_l",
        architecture="vit_large_patch14_reg4_dinov2",
        arguments={
            "img_size": 224,
            "mlp_ratio": 5.34375,  # 2 x 2736 packed hidden units: 4096 * 2/3 rounded up to 8s
            "mlp_layer": "SwiGLUPacked",
            "act_layer": "silu",
        },
        weights=HubWeights("histai/hibou-L", gated=True),
        transform=_TRANSFORM,
        output_dim=1024,
        tile_size_px=224,
        licence="Apache-2.0",
        citation=_CITATION,
    ),
)
