"""Signals are remembered, handlers are put back, and a second Ctrl-C does not wait."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from sdali.trainers.core.signals import StopSignals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_remembered_not_obeyed(number: signal.Signals) -> None:
    """Within the block a signal changes nothing but `received`; after it the former handler stands again."""
    before = signal.getsignal(number)
    with StopSignals() as signals:
        assert signals.agreed(0) == 0
        os.kill(os.getpid(), number)
        assert signals.received == number
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    """Who presses Ctrl-C twice does not want to wait for the step to end."""
    with pytest.raises(KeyboardInterrupt), StopSignals():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)


def test_ranks_stop_for_each_other() -> None:
    """A rank without a signal stops as for SIGTERM where another has one; its own comes first."""
    signals = StopSignals()
    assert signals.agreed(float(signal.SIGINT)) == signal.SIGTERM
    signals.received = signal.SIGINT
    assert signals.agreed(2.0 * signal.SIGINT) == signal.SIGINT


def test_other_threads_change_nothing() -> None:
    """Outside the main thread, where Python allows no handlers, training still works."""
    seen: list[int] = []

    def work() -> None:
        with StopSignals() as signals:
            seen.append(signals.received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [0]
