"""Price lists: tiers, free units, currencies, age, forecasts and the shipped files."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.errors import ConfigError, DataError
from midhaul.federation.money.prices import (
    PriceList,
    ProviderPrices,
    Tier,
    read_price_list,
    shipped_price_list,
    shipped_price_lists,
)

if TYPE_CHECKING:
    from pathlib import Path

JUNE_2026_S = 1_780_272_000.0


@st.composite
def tariffs(draw: st.DrawFn) -> ProviderPrices:
    """Any tariff of up to four tiers."""
    ends = sorted(draw(st.sets(st.integers(1, 60), max_size=3)))
    prices = draw(
        st.lists(st.floats(0, 1), min_size=len(ends) + 1, max_size=len(ends) + 1)
    )
    tiers = tuple(
        Tier(price=price, up_to=end)
        for price, end in zip(prices, [*ends, math.inf], strict=True)
    )
    return ProviderPrices(
        tiers=tiers,
        free_units=draw(st.integers(0, 40)),
        units_per_call=draw(st.integers(1, 3)),
    )


@given(tariffs(), st.integers(0, 50), st.integers(0, 50))
def test_many_calls_cost_the_sum_of_each(
    tariff: ProviderPrices, n_calls: int, n_before: int
) -> None:
    """The quick sum over tiers is the slow one over units."""
    one_by_one = math.fsum(tariff.call_usd(n_before + i) for i in range(n_calls))
    assert tariff.calls_usd(n_calls, n_before) == pytest.approx(one_by_one, abs=1e-9)


@given(tariffs(), st.lists(st.sampled_from(["reserve", "bill", "release"])))
def test_reserved_prices_cover_the_bill_whatever_the_order(
    tariff: ProviderPrices, events: list[str]
) -> None:
    """Calls that pay what was reserved never pay less than the vendor's bill."""
    prices = PriceList(providers={"x": tariff})
    n_billed, paid = 0, 0.0
    under_way: list[float] = []
    for event in [*events, *(["bill"] * len(events))]:
        if event == "reserve":
            under_way.append(prices.most_usd("x", n_billed, len(under_way)))
        elif under_way:
            price = under_way.pop()
            if event == "bill":
                n_billed, paid = n_billed + 1, paid + price
    assert paid >= tariff.calls_usd(n_billed) - 1e-9


@given(tariffs(), st.integers(0, 40), st.integers(0, 40))
def test_the_most_is_that_of_some_place_of_the_month(
    tariff: ProviderPrices, n_charged: int, n_open: int
) -> None:
    """The quick maximum is the slow one."""
    prices = PriceList(providers={"x": tariff})
    slow = max(tariff.call_usd(n_charged + i) for i in range(n_open + 1))
    assert prices.most_usd("x", n_charged, n_open) == slow


def test_google_has_free_units_and_two_tiers() -> None:
    """2.25 USD per 1,000 after the first 1,000, and 1.50 above five million."""
    prices = shipped_price_list("google")
    name = "google:object_localization"
    steps = {0: 0.0, 999: 0.0, 1000: 0.00225, 4_999_999: 0.00225, 5_000_000: 0.0015}
    assert {n: prices.price_usd(name, n) for n in steps} == steps
    forecast = prices.forecast({name: 6_000_000})
    assert forecast.total_usd == pytest.approx(4_999_000 * 0.00225 + 1_000_000 * 0.0015)
    assert forecast.n_free == {name: 1000}
    later = prices.forecast({name: 600}, n_calls_before={name: 700})
    assert (later.n_free[name], later.total_usd) == (300, pytest.approx(0.675))


def test_every_shipped_list_can_be_read_and_names_its_source() -> None:
    """With a version of its own, and a warning where it is from memory or old."""
    assert set(shipped_price_lists()) >= {"aws", "azure", "frugalml", "google"}
    lists = [shipped_price_list(name) for name in shipped_price_lists()]
    assert len({prices.version for prices in lists}) == len(lists)
    for prices in lists:
        for name, tariff in prices.providers.items():
            assert tariff.source, name
            assert tariff.date or not tariff.is_checked
    azure = shipped_price_list("azure").warnings(JUNE_2026_S)
    assert "from memory" in azure[0]
    old = shipped_price_list("frugalml").warnings(JUNE_2026_S)
    assert "days old (2020-06-01)" in old[0]
    google = shipped_price_list("google").renamed({"g": "google:object_localization"})
    assert google.warnings(JUNE_2026_S) == []
    assert len(google.warnings(JUNE_2026_S, max_age_days=1)) == 1
    with pytest.raises(ConfigError, match="did you mean 'azure'"):
        shipped_price_list("azur")


def test_frugalml_prices_are_those_of_its_papers() -> None:
    """USD for 10,000 calls."""
    prices = shipped_price_list("frugalml")
    for name, usd in {
        "faces:Google": 15,
        "sentiment:Amazon": 0.75,
        "speech:Microsoft": 41,
        "tags:EveryPixel": 6,
        "speech:GitHub(DeepSpeech)": 0.02,
    }.items():
        assert prices.of(name).calls_usd(10_000) == pytest.approx(usd)


def test_another_currency_is_converted_at_its_stated_rate(tmp_path: Path) -> None:
    """And without a rate and its day it is refused."""
    file = tmp_path / "list.toml"
    text = """
        [baidu]
        tiers = [{ price = 0.002 }]
        currency = "CNY"
        date = "2026-05-01"
        source = "an invoice"
        is_checked = true
        charged = ["ok"]
        {rate}
    """
    rate = 'usd_per_currency = 0.14\nrate_date = "2026-05-02"'
    file.write_text(text.replace("{rate}", rate))
    prices = read_price_list(file)
    assert prices.price_usd("baidu", 0) == pytest.approx(0.00028)
    assert prices.is_charged("baidu", "ok")
    assert not prices.is_charged("baidu", "timeout")
    assert "rate" in prices.warnings(JUNE_2026_S, max_age_days=29.9)[1]
    file.write_text(text.replace("{rate}", ""))
    with pytest.raises(ConfigError, match="CNY need a rate"):
        read_price_list(file)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("tiers = []", "tiers"),
        ("tiers = [{ price = -1 }]", "price"),
        ("tiers = [{ price = 1, up_to = 5 }]", "has no end"),
        ("tiers = [{ price = 1 }]\nfree_unit = 3", "free_units"),
        ("tiers = [{ price = 1 }]\ncharged = ['paid']", "charged"),
        ("tiers = [{ price = nan }]", "price"),
    ],
)
def test_mistakes_of_a_list_are_named(
    tmp_path: Path, change: str, complaint: str
) -> None:
    """Which provider, which key, and what was meant."""
    file = tmp_path / "list.toml"
    rest = 'date = "2026-05-01"\nsource = "x"\nis_checked = true\n'
    file.write_text(f"[aws]\n{change}\n{rest}")
    with pytest.raises(ConfigError, match=complaint) as caught:
        read_price_list(file)
    assert str(file) in caught.value.message


def test_files_that_are_no_lists_are_data_errors(tmp_path: Path) -> None:
    """Missing, or no TOML; and a checked price has a day."""
    with pytest.raises(DataError, match="does not exist"):
        read_price_list(tmp_path / "none.toml")
    file = tmp_path / "list.toml"
    file.write_text("tiers = [")
    with pytest.raises(DataError, match="TOML"):
        read_price_list(file)
    file.write_text('[a]\ntiers=[{price=1}]\nsource="x"\nis_checked=true\n')
    with pytest.raises(ConfigError, match="date of that day"):
        read_price_list(file)


def test_lists_are_renamed_and_joined() -> None:
    """Under the names of a config; later lists win."""
    one = PriceList.flat({"a": 1.0, "b": 2.0})
    both = one.renamed({"mine": "a"}).plus(PriceList.flat({"b": 3.0, "mine": 4.0}))
    assert {name: both.price_usd(name, 9) for name in both.providers} == {
        "mine": 4.0,
        "b": 3.0,
    }
    assert one.version != both.version
    assert one.version == PriceList.flat({"b": 2.0, "a": 1.0}).version
    with pytest.raises(ConfigError, match="no price of provider c; there are prices"):
        one.renamed({"x": "c"})
