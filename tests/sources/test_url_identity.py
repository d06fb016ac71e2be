from minimagen.sources.url_identity import identity_of


def test_spellings_have_one_identity_and_addresses_their_own() -> None:
    spellings = ["http://a.example/x", "HTTP://A.Example/x", "http://a.example:80/x", "http://a.example./x#y"]

    assert len({identity_of(address) for address in spellings}) == 1
    assert identity_of("http://a.example/x") != identity_of("http://a.example/X")
    assert identity_of("not an address \ud800") != identity_of("not an address")
