import pytest

from slidenet.core.errors import ConfigError
from slidenet.slide_encoders import LONGNET_CONFIGS, LongNetConfig, published_segments


@pytest.mark.parametrize(
    ("max_slide_px", "segments"),
    [
        (262_144, (1024, 5792, 32_768, 185_363, 1_048_576)),
        (250_000, (1024, 4870, 23_170, 110_217, 524_288)),
    ],
)
def test_segments_are_the_published_ones(max_slide_px, segments):
    assert published_segments(max_slide_px) == segments


def test_a_slide_too_small_for_the_formula_is_refused():
    with pytest.raises(ConfigError, match="at least 1024 cells"):
        published_segments(4096)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("gigapath", (1536, 768, 12, 16, 3072)),
        ("longnet-24l1024d", (1536, 1024, 24, 16, 4096)),
        ("longnet-12l1536d", (1536, 1536, 12, 16, 6144)),
    ],
)
def test_published_shapes(name, shape):
    c = LONGNET_CONFIGS[name]
    assert (c.feature_dim, c.embed_dim, c.depth, c.num_heads, c.ffn_dim) == shape
    assert (c.dropout, c.drop_path, c.layer_norm_eps, c.norm_eps) == (0.25, 0.1, 1e-5, 1e-6)
    assert c.dilation_rates == (1, 2, 4, 8, 16)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"depth": 0}, "depth is 0"),
        ({"embed_dim": 90}, "multiple of 4"),
        ({"num_heads": 7}, "num_heads=7"),
        ({"segment_lengths": (8,)}, "1 segment_lengths, 5 dilation_rates"),
        ({"dropout": 1.0}, r"dropout is 1.0; expected a share"),
        ({"pooling": "max"}, "pooling is 'max'"),
        ({"widht": 3}, "unknown slide encoder setting widht"),
    ],
)
def test_settings_out_of_range_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        LongNetConfig().with_overrides(**overrides)


def test_lists_of_a_configuration_file_become_tuples():
    config = LongNetConfig(segment_lengths=[8, 16], dilation_rates=[1, 2])
    assert (config.segment_lengths, config.dilation_rates) == ((8, 16), (1, 2))


def test_settings_of_the_pattern():
    config = LongNetConfig(attention_settings={"padding": "masked"})
    assert config.pattern_settings() == {
        "segment_lengths": published_segments(),
        "dilation_rates": (1, 2, 4, 8, 16),
        "padding": "masked",
    }
    window = LongNetConfig(attention="sliding_window", attention_settings={"window": 3})
    assert window.pattern_settings() == {"window": 3}
