"""The learning rate and the size of the images over a run, as the recipe's ``[loop]`` says."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fer_edge.errors import ConfigError
from fer_train.recipe.loop import LoopSettings
from fer_train.recipe.recipe import load_recipe

PEAK = 0.002


@st.composite
def schedules(draw: st.DrawFn) -> LoopSettings:
    """Return loops with any rate, warm-up and cooldown that are valid together."""
    epochs = draw(st.integers(1, 500))
    cooldown = draw(st.integers(0, epochs))
    warmup = draw(st.floats(0, epochs - cooldown))
    peak = draw(st.floats(1e-6, 10))
    return LoopSettings(epochs=epochs, cooldown_epochs=cooldown, warmup_epochs=warmup, learning_rate=peak)


def falls_from(loop: LoopSettings) -> float:
    """Return the time, in epochs, from which the rate falls."""
    return loop.epochs - loop.cooldown_epochs if loop.cooldown_epochs else loop.warmup_epochs


@given(loop=schedules(), share=st.floats(0, 1))
def test_the_rate_is_between_zero_and_its_peak(loop: LoopSettings, share: float) -> None:
    assert 0 <= loop.rate_at(loop.epochs * share) <= loop.learning_rate


@given(loop=schedules(), share=st.floats(0, 1), step=st.floats(0, 1))
def test_the_rate_never_jumps(loop: LoopSettings, share: float, step: float) -> None:
    start = loop.epochs * share
    end = min(start + step, loop.epochs)
    step = end - start
    falling = loop.epochs - falls_from(loop)
    # The steepest slope of each part: a line, a cosine, a square root near its end.
    bound = step / loop.warmup_epochs if step < loop.warmup_epochs else 1.0
    if falling:
        bound += math.sqrt(step / falling) if loop.cooldown_epochs else min(1.0, math.pi / 2 * step / falling)
    # The last term is for the rounding of the times, which matters near the end of the root.
    assert abs(loop.rate_at(end) - loop.rate_at(start)) <= loop.learning_rate * (bound + 1e-5)


@given(loop=schedules())
def test_the_rate_ends_at_zero_unless_the_warm_up_takes_all(loop: LoopSettings) -> None:
    assume(falls_from(loop) < loop.epochs)
    assert loop.rate_at(loop.epochs) == pytest.approx(0, abs=1e-9 * loop.learning_rate)
    # The rate of the last of a hundred steps in an epoch is nearly 0.
    assert loop.rate_at(loop.epochs - 0.01) < 0.9 * loop.learning_rate or loop.epochs - falls_from(loop) < 0.2


@given(loop=schedules(), share=st.floats(0, 1))
def test_the_rate_is_held_exactly_at_its_peak(loop: LoopSettings, share: float) -> None:
    end = falls_from(loop)
    moment = min(loop.warmup_epochs + share * (end - loop.warmup_epochs), end)
    assert loop.rate_at(moment) == loop.learning_rate
    assert loop.held_epochs <= end
    assert all(loop.rate_at(epoch + 0.5) == loop.learning_rate for epoch in range(math.ceil(moment), loop.held_epochs))


@given(loop=schedules(), share=st.floats(0, 1, exclude_max=True))
def test_the_warm_up_is_a_line_from_zero(loop: LoopSettings, share: float) -> None:
    assume(loop.warmup_epochs > 1e-300)  # below, share * warmup_epochs is not a distinct number any more
    assert loop.rate_at(share * loop.warmup_epochs) == pytest.approx(share * loop.learning_rate)


@given(loop=schedules(), shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_the_rate_never_rises_after_the_warm_up(loop: LoopSettings, shares: tuple[float, float]) -> None:
    early, late = (
        loop.warmup_epochs + share * (loop.epochs - loop.warmup_epochs) for share in (min(shares), max(shares))
    )
    assert loop.rate_at(late) <= loop.rate_at(early) * (1 + 1e-12)


@given(loop=schedules(), more=st.integers(1, 100), share=st.floats(0, 1))
def test_a_longer_run_begins_as_a_shorter_one(loop: LoopSettings, more: int, share: float) -> None:
    assume(loop.cooldown_epochs)
    longer = LoopSettings(
        epochs=loop.epochs + more,
        cooldown_epochs=loop.cooldown_epochs,
        warmup_epochs=loop.warmup_epochs,
        learning_rate=loop.learning_rate,
    )
    moment = share * loop.held_epochs
    assert loop.rate_at(moment) == longer.rate_at(moment)


def test_the_rate_falls_as_it_is_documented() -> None:
    square_root = LoopSettings(epochs=10, warmup_epochs=2, cooldown_epochs=4, learning_rate=PEAK)
    assert [square_root.rate_at(epoch) / PEAK for epoch in (0, 1, 2, 6, 7, 8, 10)] == [
        0,
        0.5,
        1,
        1,
        0.5,
        *(
            pytest.approx(1 - math.sqrt(0.5)),
            0,
        ),
    ]
    cosine = LoopSettings(epochs=10, warmup_epochs=2, learning_rate=PEAK)
    assert [cosine.rate_at(epoch) / PEAK for epoch in (1, 2, 6, 10)] == [0.5, 1, pytest.approx(0.5), pytest.approx(0)]


@given(data=st.data(), epochs=st.integers(1, 200))
def test_sizes_never_shrink_and_all_have_their_epochs(data: st.DataObject, epochs: int) -> None:
    begins = sorted(data.draw(st.sets(st.integers(1, epochs - 1), max_size=3))) if epochs > 1 else []
    from_the_end = data.draw(st.lists(st.booleans(), min_size=len(begins), max_size=len(begins)))
    sizes = tuple(range(24, 24 + 8 * (len(begins) + 1), 8))
    changes = tuple(begin - epochs if back else begin for begin, back in zip(begins, from_the_end, strict=True))
    loop = LoopSettings(epochs=epochs, warmup_epochs=0, sizes=sizes, size_changes=changes)
    seen = [loop.size_at(epoch) for epoch in range(epochs)]
    assert seen == sorted(seen)
    assert tuple(dict.fromkeys(seen)) == sizes
    assert [seen.index(size) for size in sizes] == [0, *begins]


@pytest.mark.parametrize(
    ("loop", "word"),
    [
        ("epochs = 0", "epochs"),
        ("epochs = -3", "epochs"),
        (f"epochs = {10**400}", "epochs"),
        (f"batch_size = {10**400}", "batch_size"),
        ("seed = -1", "seed"),
        ("seed = 4294967296", "seed"),
        ("learning_rate = 0.0", "learning_rate"),
        ("learning_rate = nan", "learning_rate"),
        ("learning_rate = inf", "learning_rate"),
        ("weight_decay = inf", "weight_decay"),
        ("epochs = 4\nwarmup_epochs = 4.5", "warmup_epochs"),
        ("warmup_epochs = -0.5", "warmup_epochs"),
        ("warmup_epochs = nan", "warmup_epochs"),
        ("epochs = 4\ncooldown_epochs = 4", "cooldown_epochs"),
        ("epochs = 4\nwarmup_epochs = 0\ncooldown_epochs = 5", "cooldown_epochs"),
        ("cooldown_epochs = -1", "cooldown_epochs"),
        ("cooldown_epochs = 1.5", "loop.cooldown_epochs"),
        ("sizes = []", "size_changes"),
        ("sizes = [32, 48]", "size_changes"),
        ("size_changes = [2]", "size_changes"),
        ("sizes = [32, 48]\nsize_changes = [0.5]", "loop.size_changes[0]"),
        ("sizes = [32, 48]\nsize_changes = [0]", "size_changes"),
        ("epochs = 9\nsizes = [32, 48]\nsize_changes = [9]", "size_changes"),
        ("epochs = 9\nsizes = [32, 48]\nsize_changes = [-9]", "size_changes"),
        ("epochs = 9\nsizes = [32, 40, 48]\nsize_changes = [5, 5]", "size_changes"),
        ("epochs = 9\nsizes = [32, 40, 48]\nsize_changes = [6, -5]", "size_changes"),
        ("sizes = [8]", "sizes"),
        ("sizes = [1024]", "sizes"),
    ],
)
def test_what_does_not_fit_together_is_refused_by_its_key(loop: str, word: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"[loop]\n{loop}\n")
    with pytest.raises(ConfigError) as refused:
        load_recipe(recipe)
    message = str(refused.value)
    assert message.startswith(f"{recipe}: loop")
    assert word in message
    assert len(message) < 300


@given(
    values=st.dictionaries(
        st.sampled_from(["epochs", "cooldown_epochs", "batch_size", "seed", "warmup_epochs", "learning_rate"]),
        st.integers() | st.floats() | st.integers(10**300, 10**301),
    )
)
def test_a_loop_is_taken_or_refused_and_nothing_else(values: dict[str, float]) -> None:
    try:
        loop = LoopSettings(**values)
    except ValueError:
        return
    assert 0 <= loop.rate_at(loop.epochs / 3) <= loop.learning_rate
