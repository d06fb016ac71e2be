"""A trained cascade that answers requests: what may be asked, one queue for drawing, and the doors to shut.

Knows cascades and pictures, no tracking server and no project: which cascades there are comes from the caller.
"""
