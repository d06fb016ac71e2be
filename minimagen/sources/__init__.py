"""Where captioned pictures come from: one module per source, each with ``plan`` and ``run``."""
