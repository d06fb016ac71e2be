from minimagen.text.names import ALIASES, HUB_TEXT_DIMS


def test_every_alias_of_the_original_names_a_known_encoder():
    originals = {"t5_small", "t5_base", "t5_large", "t5_3b", "t5_11b"}
    originals |= {"small1.1", "base1.1", "large1.1", "xl1.1", "xxl1.1"}

    assert originals <= set(ALIASES)
    assert set(ALIASES.values()) == set(HUB_TEXT_DIMS)
