"""What an operator sees: a page, ``/health`` and ``/metrics``, without identity."""
