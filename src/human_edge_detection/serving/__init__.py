"""Photos in, masks out, over HTTP: the command ``serve`` and its application.

All modules but ``run``, which holds the options, need the extra ``serve``.
"""
