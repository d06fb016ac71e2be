"""From how many pictures on a training is about more than knowing them by heart."""

FEW_PICTURES = 100
"""Whoever trains on fewer wants them learnt by heart, which takes another length than captions that compose."""


def are_few(num_pictures: int) -> bool:
    """Returns whether so many training pictures are to be learnt by heart."""
    return num_pictures < FEW_PICTURES
