"""What a pose estimator found, picture by picture, as movements without holes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MIN_SHARE_OF_OTHERS = 0.5

Skeletons = NDArray[np.float32]


def bridged(found: Sequence[Skeletons], n_joints: int, max_people: int) -> Skeletons:
    """Movements `[M, P, J, 3]`, P = 0 where nobody was seen in any picture.

    Where a person is not seen, the joints go straight from the last place to the next one; before
    the first and after the last they stay. Others than the first person count only if they are
    there in at least half of the pictures.

    Args:
        found: People `[P_m, J, 3]` of each picture, the same person always at the same place.
        n_joints: J.
        max_people: More than so many are left out.
    """
    n_seen = [sum(len(people) > person for people in found) for person in range(max_people)]
    kept = [
        person
        for person, n in enumerate(n_seen)
        if n and (person == 0 or n >= MIN_SHARE_OF_OTHERS * len(found))
    ]
    movements = [_movement(found, person) for person in kept]
    if not movements:
        return np.zeros((len(found), 0, n_joints, 3), np.float32)
    return np.stack(movements, 1)


def _movement(found: Sequence[Skeletons], person: int) -> Skeletons:
    """One person's `[M, J, 3]`."""
    seen = np.array([index for index, people in enumerate(found) if len(people) > person])
    places = np.stack([found[index][person] for index in seen])
    wanted = np.clip(np.arange(len(found)), seen[0], seen[-1])
    after = np.searchsorted(seen, wanted)
    before = np.maximum(after - 1, 0)
    step = np.maximum(seen[after] - seen[before], 1)
    share = ((wanted - seen[before]) / step)[:, None, None]
    moved = (1 - share) * places[before] + share * places[after]
    return np.asarray(moved, np.float32)
