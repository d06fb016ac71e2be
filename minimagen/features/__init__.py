"""Networks that turn pictures, and some of them captions, into vectors whose distances mean likeness."""
