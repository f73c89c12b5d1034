"""The plain sample: no memory."""

from ._base import AbstractReducer, Calls


class Sample(AbstractReducer):
    r"""The average over the present batch, $d_i = D(w_i; b_i)$: no reduction of variance.

    >>> import bilevax as bx
    >>> bx.Sample().calls(0)
    Calls(on_batch=1, on_refresh=0)
    """

    def init(self, average, w):
        del average, w
        return ()

    def update(self, average, w, batch, state, i):
        return average(w, batch), state

    def refresh(self, average, w, state, i=0):
        return average(w, average.whole(None, i)), state

    def calls(self, i):
        return Calls(1, 0)
