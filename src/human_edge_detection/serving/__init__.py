"""Photos in, masks out, over HTTP: the command ``serve`` and its application.

``triton`` does the same inside Triton Inference Server. All other modules but ``run``, which holds
the options, need the extra ``serve``.
"""
