"""GPFM, a ViT-L/14 distilled from several pathology encoders."""

from slidenet.tile_encoders.spec import HubWeights, TileEncoderSpec

SPECS = (
    TileEncoderSpec(
        name="gpfm",
        architecture="vit_large_patch14_dinov2",
        arguments={"img_size": 224},
        weights=HubWeights("majiabo/GPFM", filenames=("GPFM.pth",)),
        output_dim=1024,
        precision="fp32",
        # Its authors take 512 px at 40x, the same 128 micrometres as 256 px at 0.5 mpp.
        tile_size_px=256,
        licence="MIT on the hub, CC-BY-NC-ND-4.0 in the authors' repository",
        citation="Ma et al. 2025, GPFM, doi:10.1038/s41551-025-01488-4",
    ),
)
