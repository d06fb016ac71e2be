from hypothesis import example, given
from hypothesis import strategies as st

from minimagen.sources.url_identity import identity_of, is_canonical
from minimagen.sources.urls import canonical_url

addresses = st.from_regex(r"\Ahttps?://[a-z0-9.-]{1,12}\.[a-z]{2,4}/[A-Za-z0-9._~%!$&'()*,;=:@/?+#-]{0,20}\Z")


@given(addresses)
@example("http://a.example/a?")
@example("http://a.example/a/../b")
@example("http://a.example/./b")
@example("http://xn--caf-dma.example/")
@example("http://a--b.example/x?y=z&u=/./v")
def test_what_is_taken_for_canonical_is(address: str) -> None:
    assert not is_canonical(address) or canonical_url(address) == address


def test_most_addresses_of_the_web_are_seen_to_be_canonical_at_once() -> None:
    assert is_canonical("https://img-7.photos.example.com/a/b/c_d-1(2).jpg?w=640&h=480")


def test_spellings_have_one_identity_and_addresses_their_own() -> None:
    spellings = ["http://a.example/x", "HTTP://A.Example/x", "http://a.example:80/x", "http://a.example./x#y"]

    assert len({identity_of(address) for address in spellings}) == 1
    assert identity_of("http://a.example/x") != identity_of("http://a.example/X")
    assert identity_of("not an address \ud800") != identity_of("not an address")
