"""Proportions and means with 95 % intervals, and tests whether two of them differ. Needs the standard library only.

Each test is the exact or usual one for its data, and its docstring names the source. A p-value holds for one look that
was planned beforehand: who looks often, and stops when it is small, finds differences that are none.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

Z_95: Final = 1.959963984540054
_FEW: Final = 5  # an expected count below it makes the normal approximation a poor one (Cochran, Biometrics 1954)


@dataclass(frozen=True, slots=True)
class Proportion:
    """`hits` of `total`, with the 95 % score interval of Wilson (J. Am. Stat. Assoc. 1927)."""

    hits: int
    total: int

    @property
    def value(self) -> float:
        """The proportion, NaN of nothing."""
        return self.hits / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end, NaN of nothing."""
        if not self.total:
            return math.nan, math.nan
        z = Z_95
        centre = self.hits + z * z / 2
        spread = z * math.sqrt(self.hits * (self.total - self.hits) / self.total + z * z / 4)
        return (centre - spread) / (self.total + z * z), (centre + spread) / (self.total + z * z)


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of `count` numbers, with the 95 % interval of Student's t; `variance` is the sample's."""

    count: int
    value: float
    variance: float

    @classmethod
    def of(cls, numbers: Sequence[float]) -> "Mean":
        """NaN of nothing; the variance is NaN of fewer than two."""
        count = len(numbers)
        value = math.fsum(numbers) / count if count else math.nan
        variance = math.fsum((x - value) ** 2 for x in numbers) / (count - 1) if count > 1 else math.nan
        return cls(count, value, variance)

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end, NaN of fewer than two."""
        if self.count < 2:
            return math.nan, math.nan
        spread = t_quantile_975(self.count - 1) * math.sqrt(self.variance / self.count)
        return self.value - spread, self.value + spread


@dataclass(frozen=True, slots=True)
class Difference:
    """The second less the first, its 95 % interval, and how likely one as large is if there is none in truth."""

    value: float
    interval: tuple[float, float]
    p_value: float
    test: str


def compare_proportions(first: Proportion, second: Proportion) -> Difference:
    """Of independent groups: the two-proportion z test, or Fisher's exact one where a count is expected below 5. The
    interval is the hybrid score one (Newcombe, Statistics in Medicine 1998, method 10).
    """
    if not first.total or not second.total:
        return _nothing("none")
    value = second.value - first.value
    (low_1, high_1), (low_2, high_2) = first.interval, second.interval
    interval = (
        value - math.hypot(second.value - low_2, high_1 - first.value),
        value + math.hypot(high_2 - second.value, first.value - low_1),
    )
    hits, total = first.hits + second.hits, first.total + second.total
    pooled = hits / total
    if min(first.total, second.total) * min(pooled, 1 - pooled) < _FEW:
        return Difference(value, interval, fisher(first, second), "Fisher")
    error = math.sqrt(pooled * (1 - pooled) * (1 / first.total + 1 / second.total))
    return Difference(value, interval, math.erfc(abs(value) / error / math.sqrt(2)), "z")


def fisher(first: Proportion, second: Proportion) -> float:
    """The two-sided p-value of Fisher's exact test: all tables of these margins that are no likelier than this one."""
    hits, total = first.hits + second.hits, first.total + second.total

    def weight(of_first: int) -> float:
        return _log_choose(first.total, of_first) + _log_choose(second.total, hits - of_first)

    seen = weight(first.hits)
    every = [weight(k) for k in range(max(0, hits - second.total), min(first.total, hits) + 1)]
    return min(1.0, math.fsum(math.exp(w - _log_choose(total, hits)) for w in every if w <= seen + 1e-7))


def compare_paired_proportions(only_first: int, only_second: int, pairs: int) -> Difference:
    """Of two answers about each of `pairs`, of which so many were hits of one alone: McNemar's test, exact by the
    binomial; the interval is Wald's with the correction of Agresti and Min (Statistics in Medicine 2005), of which what
    no difference of proportions can be is cut off.
    """
    if not pairs:
        return _nothing("none")
    discordant, fewer = only_first + only_second, min(only_first, only_second)
    tail = math.fsum(math.exp(_log_choose(discordant, k) - discordant * math.log(2)) for k in range(fewer + 1))
    b, c, n = only_first + 0.5, only_second + 0.5, pairs + 2
    spread = Z_95 * math.sqrt(b + c - (c - b) ** 2 / n) / n
    middle = (c - b) / n
    value = (only_second - only_first) / pairs
    interval = (max(-1.0, middle - spread), min(1.0, middle + spread))
    return Difference(value, interval, min(1.0, 2 * tail), "McNemar")


def compare_means(first: Mean, second: Mean) -> Difference:
    """Of two independent groups: Welch's t test (Biometrika 1947). Where neither varies, and they differ, there is
    nothing to judge by: p is NaN.
    """
    if first.count < 2 or second.count < 2:
        return _nothing("none")
    parts = (first.variance / first.count, second.variance / second.count)
    value, variance = second.value - first.value, sum(parts)
    if variance == 0:
        return Difference(value, (value, value), 1.0 if value == 0 else math.nan, "Welch")
    freedom = variance**2 / (parts[0] ** 2 / (first.count - 1) + parts[1] ** 2 / (second.count - 1))
    spread = t_quantile_975(freedom) * math.sqrt(variance)
    return Difference(
        value, (value - spread, value + spread), t_two_sided(value / math.sqrt(variance), freedom), "Welch"
    )


def compare_paired_means(differences: Sequence[float]) -> Difference:
    """Of two numbers for each pair, given the second less the first: the paired t test. Where all differ by the same,
    there is nothing to judge by: p is NaN.
    """
    mean = Mean.of(differences)
    if mean.count < 2:
        return _nothing("none")
    error = math.sqrt(mean.variance / mean.count)
    if error == 0:
        return Difference(mean.value, mean.interval, 1.0 if mean.value == 0 else math.nan, "paired t")
    return Difference(mean.value, mean.interval, t_two_sided(mean.value / error, mean.count - 1), "paired t")


def t_two_sided(t: float, freedom: float) -> float:
    """The chance of a value of Student's t at least as far from 0."""
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def t_quantile_975(freedom: float) -> float:
    """Below which 97.5 % of Student's t lie: by bisection."""
    low, high = 0.0, 2.0
    while t_two_sided(high, freedom) > 0.05:
        high *= 2
    return _where(lambda t: t_two_sided(t, freedom) <= 0.05, low, high)


def _where(becomes_true: Callable[[float], bool], low: float, high: float) -> float:
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if becomes_true(middle) else (middle, high)
    return (low + high) / 2


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function (DLMF 8.17), by its continued fraction (8.17.22) after Lentz."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    tiny = 1e-300
    d = 1 / ((1 - (a + b) * x / (a + 1)) or tiny)
    c, fraction = 1.0, d
    for m in range(1, 1000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / ((1 + term * d) or tiny)
            c = (1 + term / c) or tiny
            fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * fraction


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _nothing(test: str) -> Difference:
    return Difference(math.nan, (math.nan, math.nan), math.nan, test)
