"""The rate limiter: no window is ever exceeded, whatever the pace, and never more in flight than allowed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.errors import RateLimitedError, SettingsError, Subject
from resources.providers.ratelimit import Rate, RateLimiter, parse_rates
from tests.providers.world import FakeClock

SUBJECT = Subject("kataven")
RATES = st.lists(st.builds(Rate, st.integers(1, 6), st.sampled_from([1.0, 7.0, 60.0])), min_size=1, max_size=3)
GAPS = st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=60)


def admitted(rates: tuple[Rate, ...], gaps: list[float], patience: float) -> list[float]:
    """Return the times at which turns were given to callers that pause so long between their questions."""
    clock = FakeClock()
    limiter = RateLimiter(rates, 5, clock.runtime, patience=patience)
    times: list[float] = []
    waits: list[float] = []
    for gap in gaps:
        clock.seconds += gap
        try:
            with limiter.turn(SUBJECT):
                times.append(clock.seconds)
        except RateLimitedError as error:
            waits.append(error.retry_after or 0.0)
    assert all(wait > patience for wait in waits)
    return times


@given(rates=RATES, gaps=GAPS, patience=st.sampled_from([0.0, 10.0, 1000.0]))
@settings(deadline=None)
def test_no_window_is_ever_exceeded(rates: list[Rate], gaps: list[float], patience: float) -> None:
    """For each rate, any request and the one ``limit`` places before it are a whole window apart."""
    times = admitted(tuple(rates), gaps, patience)
    for rate in rates:
        for earlier, later in zip(times, times[rate.limit :], strict=False):
            assert later - earlier >= rate.seconds - 1e-9


@given(gaps=GAPS)
@settings(deadline=None)
def test_nobody_waits_without_need(gaps: list[float]) -> None:
    """A turn is given at once, or exactly when the window opens."""
    times = admitted((Rate(2, 10.0),), gaps, 1000.0)
    asked = 0.0
    for number, (gap, given_at) in enumerate(zip(gaps, times, strict=True)):
        asked = max(asked, times[number - 1] if number else 0.0) + gap
        opens = times[number - 2] + 10.0 if number >= 2 else 0.0
        assert given_at == pytest.approx(max(asked, opens))


def test_refused_turn_is_not_spent() -> None:
    """A caller who is sent away takes nothing from those who come after."""
    clock = FakeClock()
    limiter = RateLimiter((Rate(1, 100.0),), 1, clock.runtime, patience=10)
    with limiter.turn(SUBJECT):
        pass
    for _ in range(5):
        with pytest.raises(RateLimitedError), limiter.turn(SUBJECT):
            pass
    clock.seconds = 95.0
    with limiter.turn(SUBJECT):
        assert clock.seconds == 100.0


def test_sleep_that_returns_early_is_slept_again() -> None:
    """A turn is never taken before its time, even when a sleep is cut short."""
    clock = FakeClock()
    runtime = clock.runtime
    halves = type(runtime)(runtime.now, runtime.monotonic, lambda seconds: clock.sleep(max(seconds / 2, 0.001)))
    limiter = RateLimiter((Rate(1, 8.0),), 1, halves)
    for _ in range(2):
        with limiter.turn(SUBJECT):
            pass
    assert clock.seconds >= 8.0


def test_no_more_in_flight_than_allowed() -> None:
    """Sixteen threads through a limit of three never meet a fourth, and a fault gives its place back."""
    limiter = RateLimiter((), 3, FakeClock().runtime)
    lock = threading.Lock()
    inside = 0
    most = 0

    def ask(number: int) -> None:
        nonlocal inside, most
        with limiter.turn(SUBJECT):
            with lock:
                inside += 1
                most = max(most, inside)
            with lock:
                inside -= 1
            if number % 3 == 0:
                raise ZeroDivisionError

    with ThreadPoolExecutor(16) as pool:
        faults = [future.exception() for future in [pool.submit(ask, number) for number in range(300)]]

    assert most <= 3
    assert sum(fault is not None for fault in faults) == 100
    for _ in range(4):
        with limiter.turn(SUBJECT):
            pass


def test_threads_together_stay_inside_the_window() -> None:
    """Turns that many threads take at one moment are all a window apart."""
    clock = FakeClock()
    lock = threading.Lock()
    runtime = clock.runtime

    def sleep(seconds: float) -> None:
        with lock:
            clock.sleep(seconds)

    limiter = RateLimiter((Rate(5, 10.0),), 8, type(runtime)(runtime.now, runtime.monotonic, sleep), patience=1e9)

    def ask(_: int) -> None:
        with limiter.turn(SUBJECT):
            pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(50)))

    assert clock.seconds >= 90.0


def test_hold_keeps_all_back() -> None:
    """After a hold no turn is given before its end, and a shorter one does not end it."""
    clock = FakeClock()
    limiter = RateLimiter((), 1, clock.runtime)
    limiter.hold(40)
    limiter.hold(5)
    with limiter.turn(SUBJECT):
        assert clock.seconds == 40.0
    limiter.hold(61)
    with pytest.raises(RateLimitedError), limiter.turn(SUBJECT):
        pass


def test_rates_are_parsed() -> None:
    """The default setting, plural units, blanks and capitals are understood; an empty text is no limit."""
    assert parse_rates("60/minute,1000/hour,10000/day", "X") == (Rate(60, 60.0), Rate(1000, 3600.0), Rate(10_000, 86_400.0))
    assert parse_rates(" 5 / Seconds , ", "X") == (Rate(5, 1.0),)
    assert parse_rates("", "X") == ()


@pytest.mark.parametrize("text", ["60", "x/minute", "60/week", "0/day", "-1/day", "1.5/day", "60/minute;5/hour"])
def test_wrong_rates_name_the_setting_and_the_form(text: str) -> None:
    """A rate that is not understood is told with its setting and an example."""
    with pytest.raises(SettingsError, match=r"KATAVEN_RATE_LIMITS.*60/minute"):
        parse_rates(text, "KATAVEN_RATE_LIMITS")
