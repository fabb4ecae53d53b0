"""Fast causal inference (FCI) on up to five variables, from correlation matrices, compiled.

The algorithm is that of Spirtes, Glymour and Scheines (*Causation, Prediction, and Search*, 2000) with
the orientation rules R1 to R4 of Zhang (2008), in the variant of causal-learn 0.1.3.8, whose graphs the
published CDN weights were trained on: same tests, same order, same quirks. Comments marked "variant" say
where that differs from the textbook.

Sets of variables are bit masks, and a graph is three arrays of masks: ``adjacent[i]`` holds the neighbours
of i, ``arrow[i]`` and ``tail[i]`` those neighbours whose edge has that mark *at i*; what is left are
circles.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from cdn_sc._compile import compiled

MAX_VARIABLES = 5
TAIL, NO_EDGE, ARROW, CIRCLE = -1, 0, 1, 2
"""Marks of an endpoint graph."""

# Answers of an independence test.
_DEPENDENT, _INDEPENDENT, _FAILED = 0, 1, 2
# A conditional variance (of a standardised variable) below this counts as zero.
_SINGULAR = 1e-9
_UNSEPARATED = -1


def fci_graphs(
    correlations: ArrayLike, n_samples: ArrayLike, alpha: float = 0.05, *, undefined: str = "dependent"
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Estimate one causal graph (a partial ancestral graph) per correlation matrix.

    Conditional independence is tested by Fisher's z, without limits on depth or path length.

    Parameters
    ----------
    correlations
        Correlation matrices, shape (T, k, k), 2 <= k <= 5. A variable that does not vary has NaN in its row
        and column.
    n_samples
        Number of cells behind each matrix, shape (T,), or one number for all.
    alpha
        Level of the tests: independent where p > alpha.
    undefined
        What NaN means: ``"dependent"``, as in causal-learn, where nothing ever separates such a variable
        from any other; or ``"independent"``: a variable that does not vary has no edges.

    Returns
    -------
    graphs
        Endpoint marks, shape (T, k, k): ``graphs[t, i, j]`` is the mark at i of the edge between i and j:
        0 no edge, -1 tail, 1 arrow, 2 circle. All 0 where the estimate failed.
    succeeded
        False where a test could not be done (singular correlations, or too few cells), shape (T,).

    Raises
    ------
    ValueError
        On wrong shapes, alpha outside (0, 1), or an unknown value of `undefined`.
    """
    # A copy, so that the compiled code sees one type only: numba compiles anew for other layouts, and for
    # arrays that may not be written to.
    matrices = np.array(correlations, dtype=np.float64, order="C")
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2]:
        raise ValueError(f"correlations must have shape (T, k, k), got {matrices.shape}")
    if not 2 <= matrices.shape[1] <= MAX_VARIABLES:
        raise ValueError(f"graphs of 2 to {MAX_VARIABLES} variables are supported, got {matrices.shape[1]}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, got {alpha}")
    if undefined not in ("dependent", "independent"):
        raise ValueError(f'undefined must be "dependent" or "independent", got {undefined!r}')
    counts = np.broadcast_to(np.asarray(n_samples), matrices.shape[:1])
    graphs = np.zeros(matrices.shape, dtype=np.int8)
    succeeded = np.zeros(len(matrices), dtype=np.bool_)
    _fci_batch(matrices, _thresholds(counts, alpha), undefined == "independent", graphs, succeeded)
    return graphs, succeeded


def _thresholds(n_samples: NDArray[np.integer], alpha: float) -> NDArray[np.float64]:
    """Squared partial correlation below which variables are independent, per matrix and conditioning size.

    Fisher's z: independent iff sqrt(df) * atanh(abs(r)) < z, df = n - size - 3. Without degrees of freedom
    everything is independent (inf); with fewer the test is impossible (-1).
    """
    sizes = np.arange(MAX_VARIABLES - 1)
    freedom = n_samples[:, None].astype(np.float64) - sizes - 3
    z = -ndtri(alpha / 2)
    squared = np.tanh(z / np.sqrt(np.maximum(freedom, 1))) ** 2
    squared[freedom == 0] = np.inf
    squared[freedom < 0] = -1
    return squared


@compiled
def _fci_batch(correlations, thresholds, undefined_independent, graphs, succeeded):  # type: ignore[no-untyped-def]
    n_graphs, k = graphs.shape[0], graphs.shape[1]
    everything = (1 << k) - 1
    by_size, first = _sets_by_size(k)
    covariances = np.empty((everything + 1, k, k))  # conditional on each set
    singular = np.zeros(everything + 1, np.bool_)
    answers = np.empty((everything + 1, k, k), np.int8)
    done = np.empty(1, np.int64)  # the largest size of sets that answers holds
    separating = np.empty((k, k), np.int64)
    adjacent, arrow, tail, reach = np.empty((4, k), np.int64)
    for t in range(n_graphs):
        for i in range(k):  # value by value: numba needs seconds to compile an assignment of arrays
            for j in range(k):
                covariances[0, i, j] = correlations[t, i, j]
        undefined = _undefined_variables(correlations[t])
        done[0] = -1
        tests = (answers, done, covariances, singular, by_size, first, thresholds[t], undefined)
        present = everything & ~undefined if undefined_independent else everything
        for i in range(k):
            adjacent[i] = present & ~(1 << i) if present >> i & 1 else 0
            arrow[i] = tail[i] = 0
        separating[:] = _UNSEPARATED

        if not _skeleton(adjacent, separating, tests):
            continue
        # Without a collider there is nothing that the following steps could remove or orient.
        if _orient_colliders(adjacent, arrow, separating) and not (
            _remove_by_possible_d_separation(adjacent, arrow, separating, reach, tests)
            and _orient(adjacent, arrow, tail, separating, tests)
        ):
            continue
        for i in range(k):
            for j in range(k):
                if adjacent[i] >> j & 1:
                    graphs[t, i, j] = ARROW if arrow[i] >> j & 1 else (TAIL if tail[i] >> j & 1 else CIRCLE)
        succeeded[t] = True


@compiled
def _sets_by_size(k):  # type: ignore[no-untyped-def]
    """All sets of k variables, by size, and where each size begins."""
    n_sets = 1 << k
    size = np.zeros(n_sets, np.int64)
    for members in range(n_sets):
        size[members] = size[members >> 1] + (members & 1)
    # loops, for numba takes seconds to compile sorting and arithmetic on whole arrays
    order, first = np.empty(n_sets, np.int64), np.zeros(k + 2, np.int64)
    place = 0
    for wanted in range(k + 1):
        for members in range(n_sets):
            if size[members] == wanted:
                order[place] = members
                place += 1
        first[wanted + 1] = place
    return order, first


@compiled
def _undefined_variables(correlation):  # type: ignore[no-untyped-def]
    k = correlation.shape[0]
    undefined = 0
    for i in range(k):
        some_defined = False
        for j in range(k):
            some_defined |= i != j and not np.isnan(correlation[i, j])
        if np.isnan(correlation[i, i]) or not some_defined:
            undefined |= 1 << i
    return undefined


# Independence tests ------------------------------------------------------------------------------------


@compiled
def _test_up_to(size, tests):  # type: ignore[no-untyped-def]
    """Test all pairs given all sets of up to a size, unless done before."""
    _, done, covariances, _, _, _, _, _ = tests
    while done[0] < min(size, covariances.shape[1] - 2):
        done[0] += 1
        _test_given_size(done[0], tests)


@compiled
def _test_given_size(size, tests):  # type: ignore[no-untyped-def]
    """Fill in whether x and y are independent given each set of one size, by their partial correlation.

    The covariances given a set come from those given the set without its last variable.
    """
    answers, _, covariances, singular, by_size, first, thresholds, undefined = tests
    k = covariances.shape[1]
    threshold = thresholds[size]
    for place in range(first[size], first[size + 1]):
        given = by_size[place]
        here = covariances[given]
        if given:
            last = 0
            while given >> (last + 1):
                last += 1
            parent = given & ~(1 << last)
            before = covariances[parent]
            variance = before[last, last]
            singular[given] = singular[parent] or variance < _SINGULAR
            scale = 1 / variance
            for i in range(k):
                if not given >> i & 1:
                    factor = before[i, last] * scale
                    for j in range(i, k):
                        here[i, j] = here[j, i] = before[i, j] - factor * before[j, last]
        for x in range(k):
            if given >> x & 1:
                continue
            for y in range(x + 1, k):
                if given >> y & 1:
                    continue
                product, squared = here[x, x] * here[y, y], here[x, y] * here[x, y]
                smaller, larger = min(here[x, x], here[y, y]), max(here[x, x], here[y, y])
                if threshold < 0:
                    answer = _FAILED
                elif undefined & (given | 1 << x | 1 << y):
                    answer = _DEPENDENT
                elif singular[given] or smaller < _SINGULAR or product - squared < _SINGULAR * larger:
                    answer = _FAILED
                else:
                    answer = _INDEPENDENT if squared < threshold * product else _DEPENDENT
                answers[given, x, y] = answers[given, y, x] = answer


# Adjacencies -------------------------------------------------------------------------------------------


@compiled
def _skeleton(adjacent, separating, tests):  # type: ignore[no-untyped-def]
    """Remove the edges of variables that some set of neighbours separates; False where a test failed.

    Stable: removals take effect after each conditioning size. Variant: the separating set is the union of
    all sets of that size that separate.
    """
    answers, _, _, _, by_size, first, _, _ = tests
    k = adjacent.shape[0]
    for size in range(k - 1):
        largest_degree = 0
        for x in range(k):
            degree = 0
            for y in range(k):
                degree += adjacent[x] >> y & 1
            largest_degree = max(largest_degree, degree)
        if largest_degree <= size:
            break
        _test_up_to(size, tests)
        for x in range(k):
            for y in range(x + 1, k):
                if not adjacent[x] >> y & 1:
                    continue
                around_x, around_y = adjacent[x] & ~(1 << y), adjacent[y] & ~(1 << x)
                union = _UNSEPARATED
                for place in range(first[size], first[size + 1]):
                    given = by_size[place]
                    if given & ~around_x and given & ~around_y:
                        continue
                    answer = answers[given, x, y]
                    if answer == _FAILED:
                        return False
                    if answer == _INDEPENDENT:
                        union = max(union, 0) | given
                if union != _UNSEPARATED:
                    separating[x, y] = separating[y, x] = union
        for x in range(k):
            for y in range(k):
                if separating[x, y] != _UNSEPARATED:
                    adjacent[x] &= ~(1 << y)
    return True


@compiled
def _remove_by_possible_d_separation(adjacent, arrow, separating, reach, tests):  # type: ignore[no-untyped-def]
    """Remove edges whose ends are separated by a set beyond their neighbours; False where a test failed.

    Where edges go, the colliders are oriented anew.
    """
    k = adjacent.shape[0]
    _semi_directed(adjacent, arrow, reach)
    some_removed = False
    for i in range(k):
        for j in range(i + 1, k):
            if not adjacent[i] >> j & 1:
                continue
            # Variant: the ends swap for i <-o j, which decides the direction the separating set is kept in.
            swap = arrow[i] >> j & 1 and not arrow[j] >> i & 1
            x, y = (j, i) if swap else (i, j)
            for direction in range(2):
                start, end = (x, y) if direction == 0 else (y, x)
                candidates = _possible_d_separating(start, end, adjacent, arrow, reach)
                if not candidates & ~adjacent[start]:
                    continue  # neighbours alone were tested before
                _test_up_to(k, tests)
                answer, given = _test_candidates(x, y, candidates, adjacent, tests[0])
                if answer == _FAILED:
                    return False
                if answer == _INDEPENDENT:
                    separating[x, y] = given
                    for this, other in ((x, y), (y, x)):
                        adjacent[this] &= ~(1 << other)
                        arrow[this] &= ~(1 << other)
                    _semi_directed(adjacent, arrow, reach)
                    some_removed = True
                    break
    if some_removed:
        arrow[:] = 0
        _orient_colliders(adjacent, arrow, separating)
    return True


@compiled
def _test_candidates(x, y, candidates, adjacent, answers):  # type: ignore[no-untyped-def]
    """Test x and y given sets of two and three candidates, up to the first that separates them."""
    lowest = candidates & -candidates
    middle = (candidates ^ lowest) & -(candidates ^ lowest)
    highest = candidates ^ lowest ^ middle
    if not middle:
        return _DEPENDENT, 0
    # Variant: of three candidates, the first pair (the two highest) is never tested.
    choices = (candidates ^ middle, candidates ^ highest, candidates) if highest else (candidates, 0, 0)
    for given in choices:
        if given & ~adjacent[x] and given & ~adjacent[y]:
            answer = answers[given, x, y]
            if answer != _DEPENDENT:
                return answer, given
    return _DEPENDENT, 0


@compiled
def _possible_d_separating(x, y, adjacent, arrow, reach):  # type: ignore[no-untyped-def]
    """Neighbours of x, and those behind a collider next to x from which a path leads on; y left out."""
    k = adjacent.shape[0]
    neighbours = adjacent[x] & ~(1 << y)
    found = neighbours
    behind = 0
    for b in range(k):
        if neighbours >> b & 1 and arrow[b] >> x & 1:
            behind |= arrow[b]
    behind &= ~(neighbours | 1 << x | 1 << y)
    # Where c was come from: the neighbours of x, and what was reached before c (in increasing order).
    sources = neighbours
    for c in range(k):
        if behind >> c & 1:
            for r in range(k):
                if (sources & adjacent[c]) >> r & 1 and reach[r] & (1 << x | 1 << c):
                    found |= 1 << c
            sources |= 1 << c
    return found


@compiled
def _semi_directed(adjacent, arrow, reach):  # type: ignore[no-untyped-def]
    """Fill in what each variable reaches by paths that leave every variable by a circle or a tail."""
    k = adjacent.shape[0]
    for i in range(k):
        reach[i] = adjacent[i] & ~arrow[i]
    for middle in range(k):
        for i in range(k):
            if reach[i] >> middle & 1:
                reach[i] |= reach[middle]


# Orientations ------------------------------------------------------------------------------------------


@compiled
def _orient_colliders(adjacent, arrow, separating):  # type: ignore[no-untyped-def]
    """Orient a *-> b <-* c where a and c are not adjacent and their separating set lacks b."""
    k = adjacent.shape[0]
    some = False
    for b in range(k):
        for a in range(k):
            if not adjacent[b] >> a & 1:
                continue
            for c in range(a + 1, k):
                if adjacent[b] >> c & 1 and not adjacent[a] >> c & 1:
                    given = separating[a, c]
                    if given != _UNSEPARATED and not given >> b & 1:
                        arrow[b] |= 1 << a | 1 << c
                        some = True
    return some


@compiled
def _orient(adjacent, arrow, tail, separating, tests):  # type: ignore[no-untyped-def]
    """Apply the orientation rules until nothing changes; False where a test failed."""
    while True:
        changed = _rules_1_and_2(adjacent, arrow, tail)
        answer = _rule_3(adjacent, arrow, tail, separating)
        if answer == _FAILED:
            return False
        if not changed and answer != 1:
            return True
        # Variant: rule 4 is tried only after a change by the others.
        if not _rule_4(adjacent, arrow, tail, separating, tests):
            return False


@compiled
def _rules_1_and_2(adjacent, arrow, tail):  # type: ignore[no-untyped-def]
    k = adjacent.shape[0]
    changed = False
    for b in range(k):
        if not arrow[b]:
            continue
        for i in range(k):
            for j in range(i + 1, k):
                if not (adjacent[b] >> i & 1 and adjacent[b] >> j & 1 and arrow[b] & (1 << i | 1 << j)):
                    continue
                changed |= _rule_1(i, b, j, adjacent, arrow, tail)
                changed |= _rule_1(j, b, i, adjacent, arrow, tail)
                changed |= _rule_2(i, b, j, adjacent, arrow, tail)
                changed |= _rule_2(j, b, i, adjacent, arrow, tail)
    return changed


@compiled
def _rule_1(a, b, c, adjacent, arrow, tail):  # type: ignore[no-untyped-def]
    """R1: a *-> b o-* c, a and c not adjacent, becomes b -> c."""
    applies = (
        not adjacent[a] >> c & 1
        and arrow[b] >> a & 1
        and not (arrow[b] | tail[b]) >> c & 1
        and not tail[c] >> b & 1
    )
    if applies:
        tail[b] |= 1 << c
        arrow[c] |= 1 << b
    return applies


@compiled
def _rule_2(a, b, c, adjacent, arrow, tail):  # type: ignore[no-untyped-def]
    """R2: a -> b *-> c or a *-> b -> c, with a *-o c, becomes a *-> c."""
    applies = (
        (adjacent[c] & ~arrow[c] & ~tail[c]) >> a & 1
        and arrow[b] >> a & 1
        and arrow[c] >> b & 1
        and (tail[a] >> b & 1 or tail[b] >> c & 1)
    )
    if applies:
        arrow[c] |= 1 << a
    return applies != 0


@compiled
def _rule_3(adjacent, arrow, tail, separating):  # type: ignore[no-untyped-def]
    """R3: a *-> b <-* c, a *-o d o-* c, a and c not adjacent, d *-o b becomes d *-> b; 1 where changed."""
    k = adjacent.shape[0]
    changed = 0
    for b in range(k):
        into, circles = arrow[b], adjacent[b] & ~arrow[b] & ~tail[b]
        if not into & (into - 1):
            continue  # fewer than two arrows
        for d in range(k):
            if not circles >> d & 1:
                continue
            for a in range(k):
                for c in range(a + 1, k):
                    ends = 1 << a | 1 << c
                    if ends & ~into or ends & ~adjacent[d] or adjacent[a] >> c & 1:
                        continue
                    # Variant: no separating set in this direction is an error there, not a "no".
                    if separating[a, c] == _UNSEPARATED:
                        return _FAILED
                    if separating[a, c] >> d & 1 and not ends & (arrow[d] | tail[d]):
                        arrow[b] |= 1 << d
                        changed = 1
    return changed


@compiled
def _rule_4(adjacent, arrow, tail, separating, tests):  # type: ignore[no-untyped-def]
    """R4: orient at b along discriminating paths d ... a, b, c; False where a test failed."""
    k = adjacent.shape[0]
    for b in range(k):
        ends = adjacent[b] & ~arrow[b] & ~tail[b]
        if not ends:
            continue
        starts = 0
        for a in range(k):
            if arrow[a] >> b & 1:
                starts |= 1 << a
        for a in range(k):
            for c in range(k):
                if (
                    starts >> a & 1
                    and ends >> c & 1
                    and arrow[c] >> a & 1
                    and tail[a] >> c & 1
                    and arrow[c] >> b & 1
                ):
                    _test_up_to(k, tests)
                    if not _discriminate(a, b, c, adjacent, arrow, tail, separating, tests[0]):
                        return False
    return True


@compiled
def _discriminate(a, b, c, adjacent, arrow, tail, separating, answers):  # type: ignore[no-untyped-def]
    """Search back from a, over colliders that are parents of c, and orient at the first path that decides."""
    k = adjacent.shape[0]
    following = np.full(k, -1, np.int64)  # the next variable towards b
    following[a] = b
    queue = np.empty(k, np.int64)
    queue[0] = a
    head, n = 0, 1
    seen = 1 << a | 1 << b
    parents = 0
    for p in range(k):
        if arrow[c] >> p & 1 and tail[p] >> c & 1:
            parents |= 1 << p
    while head < n:
        collider = queue[head]
        head += 1
        for d in range(k):
            if not arrow[collider] >> d & 1 or seen >> d & 1:
                continue
            following[d] = collider
            if not arrow[collider] >> following[collider] & 1:
                continue
            if d != c and not adjacent[d] >> c & 1:
                path, node = 0, collider
                while node != -1:
                    path |= 1 << node
                    node = following[node] if node != b else -1
                answer = _orient_discriminated(d, a, b, c, path, arrow, tail, separating, answers)
                if answer == _FAILED:
                    return False
                if answer == 1:
                    return True
            if parents >> d & 1:
                queue[n] = d
                n += 1
                seen |= 1 << d
    return True


@compiled
def _orient_discriminated(d, a, b, c, path, arrow, tail, separating, answers):  # type: ignore[no-untyped-def]
    """Orient the end a, b, c of a discriminating path from d; 1 where done."""
    with_b, without_b = answers[path, d, c], answers[path & ~(1 << b), d, c]
    if with_b == _FAILED or without_b == _FAILED:
        return _FAILED
    noncollider = with_b == _INDEPENDENT
    if with_b == _DEPENDENT and without_b == _DEPENDENT:
        if separating[d, c] == _UNSEPARATED:
            return 0
        noncollider = separating[d, c] >> b & 1 == 1
    if noncollider:
        tail[b] |= 1 << c
        arrow[b] &= ~(1 << c)
        return 1
    if tail[b] >> a & 1 or tail[b] >> c & 1:
        return 0
    arrow[b] |= 1 << a | 1 << c
    return 1
