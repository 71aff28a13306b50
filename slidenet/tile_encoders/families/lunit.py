"""Lunit's DINO ViT-S/8."""

from slidenet.tile_encoders.spec import HubWeights, InputTransform, TileEncoderSpec

SPECS = (
    TileEncoderSpec(
        name="lunit_vits8",
        architecture="vit_small_patch8_224",
        weights=HubWeights("1aurent/vit_small_patch8_224.lunit_dino"),
        # Channel statistics of the authors' release notes, which give no resizing; the tile is
        # resized whole as kaiko-ai/eva does.
        transform=InputTransform(
            interpolation="bilinear",
            mean=(0.70322989, 0.53606487, 0.66096631),
            std=(0.21716536, 0.26081574, 0.20723464),
        ),
        output_dim=384,
        precision="fp32",
        tile_size_px=224,
        licence="Lunit non-commercial public licence",
        citation="Kang et al. 2023, Benchmarking SSL on pathology, arXiv:2212.04690",
    ),
)
