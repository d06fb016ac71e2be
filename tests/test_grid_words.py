import pytest

from minimagen.errors import UserError
from minimagen.grid_words import read_grid


@pytest.mark.parametrize("word", ["dim", "dim=", "=3", "dim=[1", "dim=,"])
def test_words_that_are_no_values_are_told(word: str) -> None:
    with pytest.raises(UserError, match=r"expected KEY=VALUE|not values"):
        read_grid([word])


def test_words_are_numbers_and_lists() -> None:
    grid = {"dim": [16, 32], "learning_rate": [1e-3], "dim_mults": [[1, 2], [1, 2, 4]]}
    assert read_grid(["dim=16,32", "learning_rate=1e-3", "dim_mults=[1,2],[1,2,4]"]) == grid
