"""One browser for all tests of pages."""

import pytest
from browser import BROWSER, NAMES, Browser


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    if BROWSER is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    one = Browser(tmp_path_factory.mktemp("profile"))
    yield one
    one.close()
