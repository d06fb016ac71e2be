"""What a training is asked again and again: does it learn by heart, and what do its pictures look like?

The losses of seen and of held-out pictures under equal noise, the distance of drawn pictures to training pictures, and
a plain verdict on each grid; all of it goes into the journal. Decides what counts as copying, not what follows from it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from minimagen.datasets.captioned import Batch, CaptionedImages
from minimagen.datasets.transforms import to_float
from minimagen.evaluation.memorisation import Nearest, nearest_pictures
from minimagen.evaluation.picture_verdict import Verdict, gain_over, judge
from minimagen.evaluation.retrieval import likeness, nearest_own
from minimagen.features.fixed import FixedFeatures
from minimagen.shapes import Images, PerSample, PixelImages
from minimagen.stages.training_course import Course
from minimagen.training.curves import HELD_OUT_RATIO, NEAREST_RATIO, SEEN_LOSS, VALIDATION_LOSS
from minimagen.training.objective import Draws
from minimagen.training.validation import ValidationReport, spread_indices, validation_losses

MAX_SEARCHED = 20_000
"""Training pictures that drawn ones are compared with at most, evenly spread."""
CHUNK_IMAGES = 256
MIN_COPIES = 2
"""One copy among a grid's pictures may be chance."""
MAX_COPIED = 0.25
"""Share of a grid's pictures from which on the training counts as copying: so many more than of the real ones are."""
Metrics = dict[str, float]


@dataclass(frozen=True, slots=True)
class Look:
    """What was found of one grid."""

    text: str
    metrics: Metrics
    is_copying: bool = False


@dataclass(frozen=True, slots=True)
class Watch:
    """Looks at one training with its averaged weights, which the caller puts in place."""

    course: Course
    held_out: CaptionedImages

    def losses(self, loss_under: Callable[[Batch, Draws], PerSample]) -> Metrics:
        """Returns the losses of held-out pictures, by interval of time too, and of as many training pictures."""
        found, seen = (self._losses(loss_under, data) for data in (self.held_out, self.course.training))
        bins = {f"{VALIDATION_LOSS}/{item.start:.2f}-{item.end:.2f}": item.loss for item in found.bins}
        return {VALIDATION_LOSS: found.loss, SEEN_LOSS: seen.loss, **bins}

    def _losses(self, loss_under: Callable[[Batch, Draws], PerSample], data: CaptionedImages) -> ValidationReport:
        config = self.course.config
        return validation_losses(
            loss_under,
            data,
            aug_level=self.course.objective.usual_aug_level,
            num_images=config.num_validation_images,
            batch_size=config.batch_size,
            seed=config.seed,
        )

    def look(self, pictures: Sequence[PixelImages]) -> Look:
        """Says what a grid looks like, and of a base U-Net's whether it copies.

        Args:
            pictures: as ``draw_grid`` returns them.
        """
        *previous, drawn, real = (to_float(pixels) for pixels in pictures)
        if previous:
            gain = gain_over(drawn, self.course.objective.low_res(real), real)
            word = "more than enlarging does" if gain > 0.0 else "no more than enlarging does"
            return Look(f"{word} ({gain:+.1f} dB)", {"grid/gain_db": gain})
        features = FixedFeatures()
        is_right = nearest_own(likeness(features.of_pictures(drawn), features.of_pictures(real)))
        verdict = judge(drawn, real, is_right)
        found, usual = (nearest_pictures(images, self._training_chunks()) for images in (drawn, real))
        return _base_look(verdict, found, usual)

    def _training_chunks(self) -> Iterator[Images]:
        data, seed = self.course.training, self.course.config.seed
        positions = spread_indices(min(MAX_SEARCHED, len(data)), len(data))
        for start in range(0, len(positions), CHUNK_IMAGES):
            yield data.images(positions[start : start + CHUNK_IMAGES], seed=seed)


def _base_look(verdict: Verdict, found: Nearest, usual: Nearest) -> Look:
    num_copies = int(found.are_copies.sum())
    metrics = {
        "grid/roughness": verdict.roughness,
        "grid/right_captions": verdict.num_right / verdict.num_total,
        "grid/copied": num_copies / verdict.num_total,
        NEAREST_RATIO: float(found.ratios.median()),
        HELD_OUT_RATIO: float(usual.ratios.median()),
    }
    # Where pictures of the data are much alike, real held-out ones look like copies, too.
    num_more = num_copies - int(usual.are_copies.sum())
    is_copying = num_more >= max(MIN_COPIES, MAX_COPIED * verdict.num_total)
    copies = f"; {num_copies} are copies of training pictures" if num_copies else ""
    return Look(f"{verdict}{copies}", metrics, is_copying)
