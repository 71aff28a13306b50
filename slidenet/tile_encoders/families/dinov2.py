"""DINOv2 trained on natural images: ungated, the default to take when online."""

from slidenet.tile_encoders.spec import HubWeights, InputTransform, TileEncoderSpec


def _dinov2(letter: str, size: str, output_dim: int) -> TileEncoderSpec:
    return TileEncoderSpec(
        name=f"dinov2_vit{letter}14",
        architecture=f"vit_{size}_patch14_dinov2",
        # Position table of 518 px, interpolated to the 224 px input.
        arguments={"dynamic_img_size": True},
        weights=HubWeights(f"timm/vit_{size}_patch14_dinov2.lvd142m"),
        # facebookresearch/dinov2, make_classification_eval_transform.
        transform=InputTransform(input_px=224, resize_px=256),
        output_dim=output_dim,
        licence="Apache-2.0",
        citation="Oquab et al. 2023, DINOv2, arXiv:2304.07193",
    )


SPECS = (
    _dinov2("s", "small", 384),
    _dinov2("b", "base", 768),
    _dinov2("l", "large", 1024),
    _dinov2("g", "giant", 1536),
)
