"""Prov-GigaPath's tile encoder."""

from slidenet.tile_encoders.spec import HubWeights, InputTransform, TileEncoderSpec

SPECS = (
    TileEncoderSpec(
        name="gigapath",
        # Patch size 16, although the architecture's name says 14.
        architecture="vit_giant_patch14_dinov2",
        arguments={"img_size": 224, "patch_size": 16},
        weights=HubWeights(
            "prov-gigapath/prov-gigapath",
            revision="eba85dd46097c3eedfcc2a3a9a930baecb6bcc19",
            filenames=("pytorch_model.bin",),
            gated=True,
        ),
        # As on the model card: a 256 px tile keeps its resolution and loses its border. timm's
        # own default (crop_pct 1.0) would shrink the tile instead.
        transform=InputTransform(input_px=224, resize_px=256),
        output_dim=1536,
        licence="Apache-2.0",
        citation="Xu et al. 2024, A whole-slide foundation model, doi:10.1038/s41586-024-07441-w",
    ),
)
