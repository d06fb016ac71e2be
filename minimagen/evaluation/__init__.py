"""How good a cascade is, measured on data it has not seen."""
