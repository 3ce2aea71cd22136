"""Ticks of a job as every process counts them, so that all of them name one tick alike."""


def slot(now: float, every_s: float) -> float:
    """The tick nearest to `now` (s since 1970): ticks fall on the multiples of `every_s`.

    The nearest and not the last, since a timer may fire a moment early. Processes whose clocks differ by less
    than half of `every_s` agree.
    """
    return round(now / every_s) * every_s
