"""From how many pictures on a training is about more than knowing them by heart."""

FEW_PICTURES = 100
"""Whoever trains on fewer wants them learnt by heart, which takes another length than captions that compose."""


def are_few(num_pictures: int | None) -> bool:
    """Returns whether so many training pictures are to be learnt by heart; None, before there are data, is many."""
    return num_pictures is not None and num_pictures < FEW_PICTURES
