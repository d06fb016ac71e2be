"""The name under which hosts are asked, with a page where their owners find out who asks."""

import os

import minimagen

NAME = "minimagen-pipeline"
"""What robots.txt and opt-out headers may address."""


def user_agent() -> str:
    """Returns "minimagen-pipeline/<version> (+<contact>)"; MINIMAGEN_CONTACT replaces the project's page."""
    contact = os.environ.get("MINIMAGEN_CONTACT", "").strip() or "https://github.com/minimagen/minimagen-pipeline"
    plain = "".join(character for character in contact if 32 <= ord(character) < 127 and character not in "()")
    return f"{NAME}/{minimagen.__version__} (+{plain})"
