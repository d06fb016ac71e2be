"""MinImagen: captioned images in, a trained text-to-image cascade out."""

__version__ = "0.1.0"
