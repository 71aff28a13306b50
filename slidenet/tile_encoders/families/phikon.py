"""Phikon and Phikon-v2 (Owkin), published in the layout of transformers."""

from slidenet.tile_encoders.spec import HubWeights, InputTransform, TileEncoderSpec

SPECS = (
    TileEncoderSpec(
        name="phikon",
        architecture="vit_base_patch16_224",
        weights=HubWeights(
            "owkin/phikon",
            revision="057cc0295895c2df3dd7681a89680da6015cbefe",
        ),
        transform=InputTransform(interpolation="bilinear"),
        output_dim=768,
        precision="fp32",
        tile_size_px=224,
        licence="Owkin non-commercial licence",
        citation="Filiot et al. 2023, Scaling SSL with masked image modeling (Phikon), "
        "doi:10.1101/2023.07.21.23292757",
    ),
    TileEncoderSpec(
        name="phikon_v2",
        architecture="vit_large_patch16_224",
        arguments={"img_size": 224, "init_values": 1.0},
        weights=HubWeights(
            "owkin/phikon-v2",
            revision="2ae989a9c40cffaa27f0a6cb29cc94d1d6f9a5fd",
            filenames=("model.safetensors",),
        ),
        output_dim=1024,
        precision="fp32",
        tile_size_px=224,
        licence="Owkin non-commercial licence",
        citation="Filiot et al. 2024, Phikon-v2, arXiv:2409.09173",
    ),
)
